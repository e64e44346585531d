"""Run the cases of one target: in a process of its own, which may crash.

The input of each case is first written to a file, so that it is known if the process dies.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import time
from pathlib import Path
from random import Random

from tests.fuzz.mutate import mutated
from tests.fuzz.targets import PLANTED, TARGETS, Target

#: Bytes that a target may take beyond its use after reading its seeds.
MEMORY = 512 * 2**20

#: Seconds allowed for one case, however slow the machine is.
CASE_S = 20


class _TooLong(BaseException):
    """A case that takes too long; no decoder may catch it."""


def run(target: Target, seed: int, cases: int, seconds: float, at: Path) -> int:
    """Feed a target; return the number of cases that passed.

    Parameters
    ----------
    at
        The file that holds the input of the current case.
    """
    random, seeds = Random(seed), target.seeds()
    for sample in seeds:
        target.decode(sample)  # a seed that is refused would test only its refusal
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.signal(signal.SIGALRM, _too_long)
    ends = time.monotonic() + seconds
    for done in range(cases):
        if time.monotonic() > ends:
            return done
        data = mutated(random, seeds)
        at.write_bytes(data)
        signal.alarm(CASE_S)
        try:
            target.decode(data)
        except target.refuses:
            pass
        finally:
            signal.alarm(0)
    return cases


def _too_long(signum: int, frame: object) -> None:
    raise _TooLong(f"a case took more than {CASE_S} s")


def main() -> int:
    name, seed, cases, seconds, at = sys.argv[1:]
    done = run((TARGETS | PLANTED)[name], int(seed), int(cases), float(seconds), Path(at))
    sys.stdout.write(json.dumps({"cases": done}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
