"""Playing of files: sends their events in order of time, at the pace of a clock or of the loop itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from headrace.client.ingest import EventStream, IngestClient
from headrace.client.merging import BEFORE_ALL, Origins, Row, Source, merge, sources_of
from headrace.client.outcome import RejectedRow, rejected_rows
from headrace.client.pacing import ClosedLoop, Pace, Slowest, TimedPace
from headrace.client.publishing import sender_name
from headrace.definition import LoopDefinition, StreamDefinition
from headrace.engine.marks import Marking
from headrace.errors import InvalidRequest, Unavailable
from headrace.runtime.clock import wall_clock
from headrace.runtime.redis.connection import connect_without_retries, store_errors
from headrace.runtime.redis.status import ServiceStatus, StatusBoard

#: How many events a player at full speed may be ahead of the loop's slowest service.
AHEAD = 20_000
#: Seconds between two reads of the loop's progress; services publish it about once a second.
_LOOK_S = 0.25
_PROGRESS_S = 0.1
#: Seconds for which the store may fail to answer: a script that briefly blocks it must not end a play of hours.
_SILENT_S = 30.0

#: ``"realtime"``, ``"max"``, or a factor by which to play faster than the events happened.
Speed = Literal["realtime", "max"] | float


@dataclass(frozen=True)
class Progress:
    """Events sent, the time of the last one (µs), and how many the loop has not processed yet (None: unknown)."""

    sent: int
    time: int
    behind: int | None


@dataclass(frozen=True)
class PlayResult:
    """The outcome of a play.

    Attributes
    ----------
    sent
        Events sent, all durable: accepted, rejected and repeated ones.
    rejections
        The first rows that were rejected; all rejected rows are in the dead letters.
    disorder
        The most (µs) by which an event was older than one before it in its file; 0 if the files are in order.
    stalls
        How often events were sent although the loop had made no progress for a while.
    repeats
        Events that had been sent before: they have no effect.
    late
        How many of the rejected events were late, or were resent after their ids had been forgotten.
    undecided
        Events that are durable, but on which the owners of their partitions have not decided yet.
    """

    sent: int
    accepted: int
    rejected: int
    rejections: tuple[RejectedRow, ...]
    wall_s: float
    first_time: int | None
    last_time: int | None
    disorder: int
    stalls: int
    repeats: int = 0
    late: int = 0
    undecided: int = 0


class Clock(Protocol):
    """The clock that sets the pace of a player."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class MachineClock:
    """The clock of this machine."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class Target(Protocol):
    """The destination of events; `headrace.client.EventStream` is one."""

    def send(self, stream: str, events: Sequence[bytes], *, mark: int = 0, end: bool = False) -> None: ...


def play(
    loop: LoopDefinition,
    sources: Sequence[tuple[Path | str, str]],
    address: str,
    redis_url: str,
    *,
    speed: Speed = "max",
    limit: int | None = None,
    ahead: int = AHEAD,
    final: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> PlayResult:
    """Play files into a running loop, merged in the order of event time.

    Events of equal time are sent in the order in which the loop declares their streams, then in the order of
    their files. Files need not be sorted, but the loop then has to wait for late rows.
    Return once all events are durable.

    Parameters
    ----------
    sources
        Each file with the name of its stream.
    address
        The address of the ingest service.
    redis_url
        The URL of the online store, where services report their progress.
    speed
        "max" plays as fast as the loop processes events.
    limit
        Stop after this many events.
    ahead
        At full speed, how many events the loop may be behind.
    final
        Declare at the end that no more events follow, so that the loop does not wait for them.
    on_progress
        Called several times a second.
    stop
        Asked before each slice of events: once it returns true, no more is sent, and the result is that of the events
        sent until then.

    Raises
    ------
    UnknownName, InvalidRequest
        A stream or a file is not what the loop expects.
    Unavailable
        A service does not answer. Play again: events that were accepted count once.
    """
    ranked = sources_of(loop, [(Path(path), stream) for path, stream in sources])
    clock = MachineClock()
    store = connect_without_retries(redis_url)
    pace = pace_of(speed, ahead, clock)
    look = Look(pace, StatusBoard(store, loop.name).read, clock) if isinstance(pace, ClosedLoop) else None
    began = clock.now()
    client = IngestClient(address, sender=sender_name("play"))
    with store, client, client.stream(decide=True) as target:
        check = _progress_check(target, look)
        player = Player(ranked, target, pace, clock, look=check, on_progress=on_progress, stop=stop)
        player.run(limit, final)
        result = target.finish()
    return PlayResult(
        player.sent,
        result.accepted,
        result.rejected,
        rejected_rows(result.rejections, ranked, player.origins),
        clock.now() - began,
        player.first_time,
        player.last_time,
        max((source.disorder for source in ranked), default=0),
        pace.stalls if isinstance(pace, ClosedLoop) else 0,
        result.repeats,
        result.late,
        result.undecided,
    )


def _progress_check(target: EventStream, look: Look | None) -> Callable[[], None]:
    """Return a check of the loop's progress and of the call, whose failure a slow play would notice too late."""

    def check() -> None:
        target.check()
        if look is not None:
            look()

    return check


def pace_of(speed: Speed, ahead: int, clock: Clock) -> Pace:
    """Return the pace for a speed.

    Raises
    ------
    InvalidRequest
        It is not a valid speed.
    """
    if speed == "max":
        return ClosedLoop(ahead, clock.now)
    if speed == "realtime":
        return TimedPace(1.0, clock.now)
    if isinstance(speed, str) or not 0 < speed < float("inf"):
        raise InvalidRequest("speed", repr(speed), "realtime, max, or how many times faster (a number above 0)")
    return TimedPace(speed, clock.now)


class Look:
    """A reader of the services' progress for a closed loop, at most once per `_LOOK_S`."""

    def __init__(self, pace: ClosedLoop, statuses: Callable[[], Sequence[ServiceStatus]], clock: Clock) -> None:
        self._pace = pace
        self._statuses = statuses
        self._clock = clock
        self._slowest = Slowest()
        self._next = self._answered_at = clock.now()

    def __call__(self) -> None:
        now = self._clock.now()
        if now < self._next:
            return
        self._next = now + _LOOK_S
        try:
            with store_errors():
                statuses = self._statuses()
        except Unavailable:
            if now - self._answered_at > _SILENT_S:
                raise
            return
        self._answered_at = now
        self._pace.reached(self._slowest(statuses))


class Player:
    """One play: it takes rows from the merge as the pace allows, and sends them in slices.

    After each slice it marks every stream that it plays, at the time of the next event of the merge minus the
    stream's lateness, so that a stream with few events does not hold back the loop. It marks no other stream: those may
    be played later.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        target: Target,
        pace: Pace,
        clock: Clock,
        *,
        look: Callable[[], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        now: Callable[[], int] = wall_clock,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._now = now
        self._stop = stop
        self.sent = 0
        self.first_time: int | None = None
        self.last_time: int | None = None
        self.origins = Origins()
        self._sources = sources
        self._target = target
        self._pace = pace
        self._clock = clock
        self._look = look or (lambda: None)
        self._on_progress = on_progress
        self._reported_at = float("-inf")
        self._marks = dict.fromkeys((source.stream.name for source in sources), 0)

    def run(self, limit: int | None, final: bool) -> None:
        """Play to the end, until `limit` events are sent, or until the player is stopped."""
        rows = merge(self._sources)
        head = next(rows, None)
        remaining = limit if limit is not None else 2**62
        while head is not None and remaining > 0 and (window := self._wait(head.place)):
            events, until = window
            slice_, head = self._take(rows, head, min(events, remaining), until)
            remaining -= sum(map(len, slice_.values()))
            self._send(slice_, head.place if head is not None else None)
        if final and not self._stop():
            for stream in self._marks:
                self._target.send(stream, (), end=True)
        self._report_progress(force=True)

    def _wait(self, place: int) -> tuple[int, float] | None:
        """Wait until events may be sent; return how many, and up to which time, or None if the player is stopped."""
        while not self._stop():
            self._look()
            window = self._pace.window(place)
            if window.events:
                return window.events, window.until
            self._report_progress()
            self._clock.sleep(min(window.wait_s, 1.0))
        return None

    def _take(
        self, rows: Iterator[Row], head: Row, events: int, until: float
    ) -> tuple[dict[str, list[bytes]], Row | None]:
        slice_: dict[str, list[bytes]] = {}
        names = [source.stream.name for source in self._sources]
        count, place = 0, head.place
        next_row: Row | None = head
        while next_row is not None and count < events and next_row.place <= until:
            place, rank, event, line = next_row
            name = names[rank]
            slice_.setdefault(name, []).append(event)
            self.origins.add(name, rank, line)
            count += 1
            next_row = next(rows, None)
        if place > BEFORE_ALL:
            self.first_time = head.place if self.first_time is None else self.first_time
            self.last_time = place
        self.sent += count
        self._pace.sent(count, place)
        return slice_, next_row

    def _send(self, slice_: dict[str, list[bytes]], next_time: int | None) -> None:
        streams = {source.stream.name: source.stream for source in self._sources}
        for stream, last in self._marks.items():
            mark = self._mark(streams[stream], next_time)
            self._target.send(stream, slice_.get(stream, ()), mark=mark if mark > last else 0)
            self._marks[stream] = max(mark, last)
        self._report_progress()

    def _mark(self, stream: StreamDefinition, next_time: int | None) -> int:
        """Return the mark to send after a slice, given the time of the next event; 0 for none."""
        if next_time is None or stream.marks == Marking.NOBODY:
            return 0
        if stream.ahead is not None and next_time > self._now() + stream.ahead:
            return 0  # the stream would refuse such a mark
        # Events that are older by up to the lateness may still come, from a file or from another producer.
        return max(next_time - stream.lateness, 0)

    def _report_progress(self, force: bool = False) -> None:
        now = self._clock.now()
        if (
            self._on_progress is not None
            and self.last_time is not None
            and (force or now >= self._reported_at + _PROGRESS_S)
        ):
            self._reported_at = now
            behind = self._pace.outstanding if isinstance(self._pace, ClosedLoop) else None
            self._on_progress(Progress(self.sent, self.last_time, behind))
