"""``python -m tests.life``: a random ordinary life of a loop, compared with the oracle at pauses and at the end."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.life import report
from tests.life.life import Settings, live, shrink


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.life", description=__doc__, epilog="Example: python -m tests.life --minutes 10 --seed 7"
    )
    parser.add_argument("--minutes", type=float, default=3.0, help="how long it lasts, without its last comparison (3)")
    parser.add_argument("--actions", type=int, help="stop after so many actions: a prefix of the life")
    parser.add_argument("--seed", type=int, help="drawn and printed where it is not given")
    parser.add_argument("--broker", choices=["official", "embedded"], default="embedded")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds without progress that mean a loss (30)")
    parser.add_argument("--tries", type=int, default=4, help="lives to shorten one that differs (4)")
    parser.add_argument("--keep", type=Path, help="a directory that keeps logs and state")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    settings = Settings(arguments.broker, arguments.patience)
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - start:7.1f} s  {text}", file=sys.stderr, flush=True)

    def ends(actions: int, seconds: float) -> bool:
        return bool(actions >= arguments.actions if arguments.actions is not None else seconds > arguments.minutes * 60)

    say(f"seed {seed}")
    with tempfile.TemporaryDirectory(prefix="headrace-life-") as temporary:
        directory = arguments.keep or Path(temporary)
        life = live(seed, ends, directory / "life", settings, say)
        print(report.table(life), flush=True)
        if life.differences:
            actions = shrink(life, directory / "shrink", settings, say, arguments.tries)
            again = f"python -m tests.life --seed {seed} --broker {arguments.broker} --actions {len(actions)}"
            print(f"\nDIFFERS with seed {seed}, after {len(actions)} actions:\n{report.story(actions)}\nAgain: {again}")
    print(report.line(life), flush=True)
    return int(bool(life.differences))


if __name__ == "__main__":
    sys.exit(main())
