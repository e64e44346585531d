"""The ends of a process, and when to start it again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

#: How many ends within `WINDOW_S` seconds make a process count as failed.
FAILED_AFTER = 5
WINDOW_S = 60.0


@dataclass(frozen=True)
class Delays:
    """Seconds before an ended process is started again: `first`, doubled each time up to `longest`.

    After a process has run for `steady` seconds, the delay is `first` again.
    """

    first: float = 0.2
    longest: float = 10.0
    steady: float = 30.0


class Restarts:
    """The ends of one process, or of successive processes in its place.

    Parameters
    ----------
    clock
        Returns the time in seconds.
    """

    def __init__(self, delays: Delays = Delays(), clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._delays = delays
        self._clock = clock
        self._delay = delays.first
        self._started = clock()
        self._ends: deque[float] = deque(maxlen=FAILED_AFTER)

    def started(self) -> None:
        """Note that it has been started."""
        self._started = self._clock()

    def ended(self) -> float:
        """Note that it has ended: return the seconds to wait before it is started again."""
        now = self._clock()
        self.count += 1
        self._ends.append(now)
        if now - self._started > self._delays.steady:
            self._delay = self._delays.first
        delay, self._delay = self._delay, min(2 * self._delay, self._delays.longest)
        return delay

    @property
    def failed(self) -> bool:
        """Whether it ended `FAILED_AFTER` times within `WINDOW_S` seconds: starting it again does not help."""
        return len(self._ends) == FAILED_AFTER and self._ends[-1] - self._ends[0] <= WINDOW_S

    def verdict(self, end: str, log: object) -> str:
        """Describe what is known about the failure, and the cure."""
        return (
            f"ended {FAILED_AFTER} times within {WINDOW_S:g} s, the last time it {end}. Its log is {log}: remove the "
            f"cause, it is started again every {self._delays.longest:g} s"
        )
