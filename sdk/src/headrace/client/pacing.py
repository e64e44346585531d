"""How fast a player may go: pure, with the clock given from outside."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from headrace.client.merging import BEFORE_ALL
from headrace.store.status import ServiceStatus
from headrace.wire.times import from_wire


class Window(NamedTuple):
    """So many events may go now, none of them later than `until` (µs). Where none may, ask again after `wait_s`."""

    events: int
    until: float
    wait_s: float


class Pace(Protocol):
    """Decides when the next events may go."""

    def window(self, time: int) -> Window:
        """What may go now, where the next event is of `time`."""
        ...

    def sent(self, events: int, time: int) -> None:
        """So many events went, the last one of `time`."""
        ...


class TimedPace:
    """An event goes when as much time has passed since the first one as in its own world, divided by `speed`."""

    #: Slices go at most so often: below that, events travel together.
    STEP_S = 0.02

    def __init__(self, speed: float, clock: Callable[[], float], slice_events: int = 1_000) -> None:
        self._speed = speed
        self._clock = clock
        self._slice = slice_events
        self._start: tuple[float, int] | None = None

    def window(self, time: int) -> Window:
        now = self._clock()
        if time == BEFORE_ALL:
            return Window(self._slice, time, 0.0)
        if self._start is None:
            self._start = (now, time)
        began, first = self._start
        until = first + (now - began) * self._speed * 1e6
        wait = (time - until) / self._speed / 1e6
        return Window(self._slice, until, 0.0) if wait <= 0 else Window(0, until, max(wait, self.STEP_S))

    def sent(self, events: int, time: int) -> None:
        """Nothing to note: the clock alone decides."""


class ClosedLoop:
    """At most `ahead` events are sent that the loop has not worked off: it learns and serves in step.

    Tell it how far the loop is with `reached`. Where the loop does not move for `patience_s` (its progress may
    not be told, or wait for something that no event brings), as many go again, so that nothing waits for ever;
    `stalls` counts how often.
    """

    def __init__(
        self, ahead: int, clock: Callable[[], float], patience_s: float = 10.0, slice_events: int = 1_000
    ) -> None:
        self.stalls = 0
        self._ahead = ahead
        self._clock = clock
        self._patience_s = patience_s
        self._slice = slice_events
        self._sent = 0
        self._done = 0
        self._marks: deque[tuple[int, int]] = deque()
        self._open = False
        self._frontier = -math.inf
        self._moved = clock()

    @property
    def outstanding(self) -> int:
        """Events sent that the loop has not worked off."""
        return self._sent - self._done

    def reached(self, frontier: float | None) -> None:
        """The loop's slowest service has reached `frontier` (µs); None: there is none to wait for."""
        self._open = frontier is None
        if frontier is not None:
            if frontier > self._frontier:
                # A loop that still works off what was sent before a stall has not stopped.
                self._moved = self._clock()
            self._frontier = frontier
        while self._marks and frontier is not None and self._marks[0][0] <= frontier:
            self._done = self._marks.popleft()[1]
            self._moved = self._clock()

    def window(self, time: int) -> Window:
        if self._open:
            return Window(self._slice, math.inf, 0.0)
        room = self._ahead - self.outstanding
        if room > 0:
            return Window(min(room, self._slice), math.inf, 0.0)
        if self._clock() - self._moved >= self._patience_s:
            self.stalls += 1
            self._moved = self._clock()
            self._done = self._sent
            self._marks.clear()
            return Window(min(self._ahead, self._slice), math.inf, 0.0)
        return Window(0, math.inf, 0.1)

    def sent(self, events: int, time: int) -> None:
        if not self._marks:
            self._moved = self._clock()
        self._sent += events
        self._marks.append((time, self._sent))


class Slowest:
    """The frontier of a loop's slowest service, from the statuses of all.

    The feature service counts always, the learner and the scorer once they have told a frontier. Of several feature
    workers those count that own something, once one does. A service that was seen and is gone holds its last
    frontier: a restart is waited for.
    """

    def __init__(self) -> None:
        self._frontiers: dict[tuple[str, str], float] = {}

    def __call__(self, statuses: Iterable[ServiceStatus]) -> float | None:
        """None where there is nobody to wait for."""
        told: dict[tuple[str, str], float] = {}
        unowned: dict[tuple[str, str], float] = {}
        for status in statuses:
            if status.service in ("feature", "learner", "scorer") and status.frontier is not None:
                told[status.service, status.instance] = from_wire(status.frontier)
            elif status.service == "feature":
                unowned[status.service, status.instance] = -math.inf
        if not any(service == "feature" for service, _ in told):
            told |= unowned
        # An instance under a new name takes the place of those of its service that are gone.
        present = {service for service, _ in told}
        gone = {key: value for key, value in self._frontiers.items() if key[0] not in present}
        self._frontiers = gone | told
        return min(self._frontiers.values(), default=None)
