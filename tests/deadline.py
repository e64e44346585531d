"""Wait for a condition, with a deadline that grows with how slow this machine is: tests use this instead of sleeping.

A deadline only ends what would hang. No test asserts one, and a machine that is slow, or busy with other tests, gets
more time: `slowness` compares the time that a fixed piece of work takes with its time on two quiet cores.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

_Value = TypeVar("_Value")

#: Seconds that `_work` takes on the machine for which deadlines are written.
_REFERENCE_S = 0.15
_STEPS = 3_000_000

#: A measurement above this is a momentary accident.
_MOST = 6.0

#: Seconds between two looks at a condition: a share of the wait so far, between these bounds.
_SHARE, _OFTEN_S, _SELDOM_S = 0.1, 0.02, 0.3

_slowness = 0.0


def slowness() -> float:
    """Return how many times slower this machine is than the reference, at least 1; measured once per process."""
    return _slowness or measured()


def scaled(seconds: float) -> float:
    """Scale a deadline to this machine."""
    return seconds * slowness()


def until(probe: Callable[[], _Value], holds: Callable[[_Value], bool] = bool, seconds: float = 30.0) -> _Value:
    """Return the first value of `probe` for which `holds` is true.

    Parameters
    ----------
    seconds
        How long it may take on the reference machine.

    Raises
    ------
    TimeoutError
        `holds` was true of no value in time; the message shows the last one.
    """
    start = time.monotonic()
    pause = threading.Event()
    while True:
        value = probe()
        if holds(value):
            return value
        # Measure again before giving up: the machine may have become slower.
        if time.monotonic() > start + scaled(seconds) and time.monotonic() > start + seconds * measured():
            raise TimeoutError(f"after {time.monotonic() - start:.0f} s still: {value!r}")
        # Probes cost as much as what they wait for: a long wait is looked at less often.
        pause.wait(min(max(_OFTEN_S, _SHARE * (time.monotonic() - start)), _SELDOM_S))


def measured() -> float:
    """Measure `slowness` again; return the slowest of all measurements."""
    global _slowness
    start = time.monotonic()
    _work()
    _slowness = min(max(1.0, _slowness, (time.monotonic() - start) / _REFERENCE_S), _MOST)
    return _slowness


def _work() -> int:
    total = 0
    for step in range(_STEPS):
        total += step & 7
    return total
