"""``python -m tests.simulations.fraud``: send payments through the loop; compare it with the oracle and bare River."""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path

from tests.simulations.fraud import report
from tests.simulations.fraud.simulation import simulate


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulations.fraud",
        description=__doc__,
        epilog="Example: python -m tests.simulations.fraud --payments 20000 --seed 1",
    )
    parser.add_argument("--payments", type=int, default=2_000_000, help="how many payments are played (2000000)")
    parser.add_argument("--seed", type=int, default=1, help="of the payments and their chargebacks (1)")
    parser.add_argument(
        "--joiners", type=int, default=0, help="processes that only join, beside the one that folds (0)"
    )
    parser.add_argument("--keep", type=Path, help="a directory that keeps files, logs and state")
    arguments = parser.parse_args()
    gc.disable()  # the oracle makes millions of objects without cycles
    start = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - start:7.1f} s  {text}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="headrace-fraud-") as temporary:
        result = simulate(arguments.payments, arguments.seed, arguments.keep or Path(temporary), say, arguments.joiners)
    print(report.table(result))
    print(report.line(result), flush=True)
    return int(bool(result.differences))


if __name__ == "__main__":
    sys.exit(main())
