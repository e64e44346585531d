"""``python -m tests.crash``: run a loop through kills, zombies and cuts, and compare it with an undisturbed run."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.crash import report
from tests.crash.faults import lasts, schedule
from tests.crash.grounds import Grounds
from tests.crash.load import Load
from tests.crash.run import both


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.crash", description=__doc__, epilog="Example: python -m tests.crash --kills 100 --seed 7"
    )
    parser.add_argument("--kills", type=int, default=20, help="SIGKILLs of services, broker and store (20)")
    parser.add_argument("--seed", type=int, help="of events and faults; drawn and told where it is not given")
    parser.add_argument("--gap", type=float, default=2.5, help="mean seconds between two faults (2.5)")
    parser.add_argument("--rate", type=int, default=200, help="events a second (200)")
    parser.add_argument("--broker", choices=["official", "embedded"], default="official")
    parser.add_argument("--keep", type=Path, help="a directory that keeps logs and state")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    planned = schedule(seed, arguments.kills, arguments.gap)
    load = Load(seed, lasts(planned), rate=arguments.rate)
    again = (
        f"python -m tests.crash --kills {arguments.kills} --seed {seed} --gap {arguments.gap:g} --rate {arguments.rate}"
    )
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - start:7.1f} s  {text}", file=sys.stderr, flush=True)

    say(f"seed {seed}: {len(planned)} faults, {arguments.kills} of them kills, in {load.seconds:.0f} s or more")
    with tempfile.TemporaryDirectory(prefix="headrace-crash-") as temporary:
        directory = arguments.keep or Path(temporary)
        with Grounds(directory / "broker", arguments.broker) as grounds:
            result = both(grounds, directory, load, planned, say)
    print(report.table(result))
    if not result.passed:
        print(f"\nFAILED with seed {seed}. Again: {again}")
    print(report.line(result), flush=True)
    return int(not result.passed)


if __name__ == "__main__":
    sys.exit(main())
