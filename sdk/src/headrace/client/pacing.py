"""The pace of a player: pure, with an injected clock."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from headrace.client.merging import BEFORE_ALL
from headrace.runtime.redis.status import ServiceStatus
from headrace.wire.times import from_wire


class Window(NamedTuple):
    """The number of events that may be sent now, up to the time `until` (µs); if 0, ask again after `wait_s`."""

    events: int
    until: float
    wait_s: float


class Pace(Protocol):
    """A pace that decides when the next events may be sent."""

    def window(self, time: int) -> Window:
        """Return what may be sent now, if the next event is of `time`."""
        ...

    def sent(self, events: int, time: int) -> None:
        """Note that `events` were sent, the last one of `time`."""
        ...


class TimedPace:
    """A pace that sends an event once its time since the first event, divided by `speed`, has passed."""

    #: The shortest time between two slices: events closer together are sent in one slice.
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
        """Do nothing: only the clock decides."""


class ClosedLoop:
    """A pace set by the loop: at most `ahead` sent events are unprocessed, so that it learns and serves in step.

    Report the loop's progress with `reached`. If the loop does not move for `patience_s` (its progress may
    be unknown, or wait for something that no event brings), as many are sent again, so that nothing waits forever;
    `stalls` counts how often.

    A play begins with few events: the loop answers them at once, where it would first fold a large batch whole.
    """

    #: Events that may be unprocessed at first, and by how many that bound rises each second, up to `ahead`.
    FIRST, RISE = 2_000, 5_000

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
        self._watermark = -math.inf
        self._began_at = self._moved_at = clock()

    @property
    def outstanding(self) -> int:
        """The number of sent events that the loop has not processed yet."""
        return self._sent - self._done

    def reached(self, watermark: float | None) -> None:
        """Note the watermark (µs) of the loop's slowest service; None: there is none to wait for."""
        self._open = watermark is None
        if watermark is not None:
            if watermark > self._watermark:
                # A loop that is still processing events from before a stall has not stopped.
                self._moved_at = self._clock()
            self._watermark = watermark
        while self._marks and watermark is not None and self._marks[0][0] <= watermark:
            self._done = self._marks.popleft()[1]
            self._moved_at = self._clock()

    def window(self, time: int) -> Window:
        if self._open:
            return Window(self._slice, math.inf, 0.0)
        room = self._bound() - self.outstanding
        if room > 0:
            return Window(min(room, self._slice), math.inf, 0.0)
        if self._clock() - self._moved_at >= self._patience_s:
            self.stalls += 1
            self._moved_at = self._clock()
            self._done = self._sent
            self._marks.clear()
            return Window(min(self._ahead, self._slice), math.inf, 0.0)
        return Window(0, math.inf, 0.1)

    def sent(self, events: int, time: int) -> None:
        if not self._sent:
            self._began_at = self._clock()
        if not self._marks:
            self._moved_at = self._clock()
        self._sent += events
        self._marks.append((time, self._sent))

    def _bound(self) -> int:
        """Return how many sent events may be unprocessed now."""
        elapsed = self._clock() - self._began_at if self._sent else 0.0
        return min(self._ahead, self.FIRST + int(self.RISE * elapsed))


class Slowest:
    """The watermark of a loop's slowest service, computed from the statuses of all.

    The feature service always counts, the learner and the scorer once they have reported a watermark. Among several
    feature workers, those that own a partition count, once one does. A service that was seen and is gone keeps its last
    watermark: the player waits for its restart.
    """

    def __init__(self) -> None:
        self._watermarks: dict[tuple[str, str], float] = {}

    def __call__(self, statuses: Iterable[ServiceStatus]) -> float | None:
        """Return the watermark; None if there is no service to wait for."""
        watermarks: dict[tuple[str, str], float] = {}
        unowned: dict[tuple[str, str], float] = {}
        for status in statuses:
            if status.service in ("feature", "learner", "scorer") and status.watermark is not None:
                watermarks[status.service, status.instance] = from_wire(status.watermark)
            elif status.service == "feature":
                unowned[status.service, status.instance] = -math.inf
        if not any(service == "feature" for service, _ in watermarks):
            watermarks |= unowned
        # An instance with a new name replaces those of its service that are gone.
        present = {service for service, _ in watermarks}
        absent = {key: value for key, value in self._watermarks.items() if key[0] not in present}
        self._watermarks = absent | watermarks
        return min(self._watermarks.values(), default=None)
