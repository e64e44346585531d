"""Fuzz every decoder in turn for some minutes.

Prints a line for each target: the number of cases, and the findings. The inputs of findings are kept in `.fuzz/`. The
exit code is 1 if there are any.

Example
-------
    python -m tests.fuzz --minutes 60 --seed 7
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

from tests.fuzz.fuzzing import fuzz, keep
from tests.fuzz.targets import TARGETS

#: Seconds of one child: long enough that its startup does not matter.
_SLICE_S = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--target", choices=sorted(TARGETS), action="append", help="only these; default: all")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else Random().randrange(10**6)
    names = arguments.target or sorted(TARGETS)
    print(f"seed {seed}, {len(names)} targets, {arguments.minutes:g} minutes", flush=True)
    cases, found, ends = Counter[str](), Counter[str](), time.monotonic() + arguments.minutes * 60
    seconds = min(_SLICE_S, arguments.minutes * 60 / len(names))
    turn = 0
    while time.monotonic() < ends:
        name = names[turn % len(names)]
        done, finding = fuzz(name, seed + turn, seconds=seconds)
        cases[name] += done
        if finding is not None:
            found[name] += 1
            path = keep(finding, Path(".fuzz"))
            print(f"FOUND in {name} ({path}): {finding.reason}", flush=True)
        turn += 1
    for name in names:
        print(f"{name:<20} {cases[name]:>12,} cases   {found[name]:>4} found")
    print(f"{sum(cases.values()):,} cases, {sum(found.values())} found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
