"""An owned partition: which events it accepts, which wait, and how far it is done.

Each event has a *key*, the newest event time of its partition up to and with it, so a key never falls along a
partition: what is done in the order of keys is done in the order of positions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from headrace.definition import ModelDefinition, StreamDefinition
from headrace.errors import InvalidEvent
from headrace.events.columns import EventColumns
from headrace.events.untimely import too_far_ahead, too_late
from headrace.frontier import ENDED, RESTING, UNKNOWN
from headrace.kernel.arrays import Ints
from headrace.marks import Mark, refusal_of


class PartitionId(NamedTuple):
    stream: str
    partition: int

    def __str__(self) -> str:
        return f"{self.stream}-{self.partition}"


class RowsId(NamedTuple):
    view: str
    partition: int


@dataclass
class Progress:
    """Where a partition stands; this is what the store keeps of it.

    Attributes
    ----------
    done
        Everything up to here is in the rows, and its vectors are out.
    emitted
        The vectors up to here are out.
    newest
        The newest event time of what is done.
    watermark
        No event behind `done` is accepted that is before it.
    ended
        The last message up to `done` said that its history has ended.
    refused
        The dead letters up to here are out: where rows are rebuilt, long before `done` comes there again.
    """

    done: tuple[int, int, int] = (-1, -1, -1)
    emitted: tuple[int, int, int] = (-1, -1, -1)
    newest: int = UNKNOWN
    watermark: int = UNKNOWN
    ended: bool = False
    refused: tuple[int, int, int] = (-1, -1, -1)

    def anew(self) -> Progress:
        """To go through all of the log again, so that rows are folded that are not there; what is out stays so."""
        return Progress(emitted=self.emitted, refused=max(self.refused, self.done))


class Reached(NamedTuple):
    """How far a partition is that another worker owns.

    Attributes
    ----------
    folded
        No event of it before this time is still to be folded.
    out
        No vector of it before this time is still to be made.
    """

    folded: int = UNKNOWN
    out: int = UNKNOWN

    @property
    def rests(self) -> bool:
        """Whether nothing was under way when this was said, and nobody need wait for more."""
        return min(self) >= RESTING


class Refused(NamedTuple):
    """An event that was not accepted: its place in the batch, and why (None: sent before)."""

    place: int
    reason: InvalidEvent | None


@dataclass
class Waiting:
    """Events of one partition in their order.

    Attributes
    ----------
    watermarks
        The partition's watermark with each: neither it nor any that follows is before that.
    since
        When each was accepted, by the wall clock.
    folded
        So many of the first are in the rows.
    made
        By model: of so many of the first the vectors are made.
    """

    columns: EventColumns
    positions: Ints
    keys: Ints
    watermarks: Ints
    since: Ints
    folded: int = 0
    made: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns)

    def extend(self, later: Waiting) -> None:
        self.columns = EventColumns.concat([self.columns, later.columns])
        self.positions = np.concatenate([self.positions, later.positions])
        self.keys = np.concatenate([self.keys, later.keys])
        self.watermarks = np.concatenate([self.watermarks, later.watermarks])
        # The clock may be set back; the order of positions stays.
        self.since = np.concatenate([self.since, np.maximum(later.since, self.since[-1])])

    def drop(self, count: int) -> None:
        self.columns = self.columns.take(range(count, len(self)))
        self.positions, self.keys, self.since = self.positions[count:], self.keys[count:], self.since[count:]
        self.watermarks = self.watermarks[count:]
        self.folded -= count
        self.made = {model: made - count for model, made in self.made.items()}


@dataclass
class Partition:
    """An owned partition.

    It accepts events by the messages of the partition alone, in their order, and looks at no clock. So every reader of
    the partition accepts the same events, at any time.

    Attributes
    ----------
    watermark
        No event before it is accepted from here on: the newest event time less the lateness, or a later mark. It falls
        only where a mark is withdrawn.
    idle
        The log ended some time ago: the loop does not wait for this partition until its next event or mark.
    ended
        A producer has said that its history ends here, with the same effect, at once.
    evicted
        Ids that were forgotten because there are too many, since `evicted` was cleared.
    """

    stream: StreamDefinition
    progress: Progress
    seen: dict[str, int]
    models: tuple[ModelDefinition, ...]
    newest: int = UNKNOWN
    watermark: int = UNKNOWN
    idle: bool = False
    ended: bool = False
    waiting: Waiting | None = None
    unsaved: dict[str, int] = field(default_factory=dict)
    evicted: list[str] = field(default_factory=list)
    last: tuple[int, int, int] = (-1, -1, -1)

    def __post_init__(self) -> None:
        # The ids and times of `seen` in the order of acceptance: the first key of a dictionary that has lost many takes
        # a walk over all of their places to find.
        self._order = deque(self.seen), deque(self.seen.values())

    @property
    def frontier(self) -> int:
        """The time up to which the loop need not wait for this partition: its watermark, or `RESTING` or `ENDED`."""
        if self.ended:
            return ENDED
        return RESTING if self.idle else self.watermark

    @property
    def backlog(self) -> int:
        return len(self.waiting) if self.waiting else 0

    @property
    def _remembered(self) -> int:
        return max(self.stream.horizon, self.stream.lateness)

    def frontier_out(self, model: str = "") -> int:
        """No vector (of this model) before this time is to come, unless the partition rests and goes on."""
        return min(self.frontier, self._unmade(model))

    def watermark_out(self, model: str = "") -> int:
        """No vector (of this model) before this time is to come, whatever happens."""
        return min(self.watermark, self._unmade(model))

    def _unmade(self, model: str) -> int:
        waiting = self.waiting
        made = waiting.made.get(model, 0) if waiting else 0
        return ENDED if waiting is None or made >= len(waiting) else int(waiting.watermarks[made])

    def settle(self) -> None:
        """Where nothing waits, all that was read is done, and what was promised behind it holds."""
        if self.waiting is None:
            self.progress.done = max(self.progress.done, self.last)
            self.progress.watermark = self.watermark
            self.progress.ended = self.ended

    def accept(
        self, events: EventColumns, positions: Sequence[tuple[int, int, int]], published: Sequence[int], now: int = 0
    ) -> list[Refused]:
        """Take events in their order; returns those that are not: sent before, too late, too far ahead.

        Parameters
        ----------
        published
            When each was published (µs): how far ahead an event may be is measured from there.
        now
            The wall clock, from which models measure how long a vector waits.
        """
        stream = self.stream
        refused: list[Refused] = []
        kept: list[int] = []
        keys: list[int] = []
        watermarks: list[int] = []
        newest, watermark = self.newest, self.watermark
        for index, (event_id, time, at) in enumerate(zip(events.ids, events.times.tolist(), published, strict=True)):
            # Judged by the horizon, not by what is still in memory: when ids are forgotten must not matter.
            if event_id in self.seen and self.seen[event_id] >= newest - self._remembered:
                refused.append(Refused(index, None))
            elif time < watermark:
                refused.append(Refused(index, too_late(stream, time, watermark)))
            elif stream.ahead is not None and time > at + stream.ahead:
                refused.append(Refused(index, too_far_ahead(stream, time, at + stream.ahead)))
            else:
                newest = max(newest, time)
                kept.append(index)
                keys.append(newest)
                watermark = max(watermark, newest - stream.lateness)
                watermarks.append(watermark)
                self._remember(event_id, time)
        if kept:
            accepted = events if len(kept) == len(events) else events.take(kept)
            self._keep(accepted, [positions[i] for i in kept], keys, watermarks, now)
            self.newest, self.watermark = newest, watermark
            self.idle = self.ended = False
        if len(positions):
            self.last = positions[-1]
        return refused

    @property
    def event_watermark(self) -> int:
        """The watermark as it is by events alone."""
        return UNKNOWN if self.newest <= UNKNOWN else self.newest - self.stream.lateness

    def mark(self, mark: Mark, position: tuple[int, int, int], published: int) -> InvalidEvent | None:
        """Take a mark that was published at a time (µs), or say why it is refused: then it moves nothing."""
        self.last = position
        reason = refusal_of(self.stream, mark, published)
        if reason is not None:
            return reason
        self.idle = self.ended = False
        time = UNKNOWN if mark.time is None else max(mark.time, UNKNOWN)
        if mark.withdraws:
            self._withdraw_to(max(time, self.event_watermark))
        else:
            self.watermark = max(self.watermark, time)
        return None

    def _withdraw_to(self, watermark: int) -> None:
        """Let the watermark fall: also of what waits, since older events may follow it now."""
        self.watermark = min(self.watermark, watermark)
        if self.waiting is not None:
            self.waiting.watermarks = np.minimum(self.waiting.watermarks, self.watermark)

    def wake(self, position: tuple[int, int, int]) -> None:
        """Pass a message that says nothing."""
        self.last = position

    def end(self, position: tuple[int, int, int]) -> None:
        """End a producer's history here. More events may follow, so nothing expires because of it."""
        self.ended = True
        self.last = position

    def rest(self) -> None:
        """The backlog has been empty for long: hold nobody back until the next event."""
        self.idle = True

    def outdated_ids(self) -> list[str]:
        """The ids that `forget_ids` drops."""
        oldest, outdated = self.newest - self._remembered, []
        for event_id, time in zip(*self._order, strict=True):
            known = self.seen.get(event_id)
            if known == time and time >= oldest:
                break
            if known == time:
                outdated.append(event_id)
        return outdated

    def forget_ids(self) -> int:
        """Drop the ids that are older than the stream's horizon; returns the oldest time that a new owner needs."""
        oldest = self.newest - self._remembered
        while (first := self._first()) is not None and self.seen[first] < oldest:
            del self.seen[first]
        # The next owner judges again what is not done yet: as new as the newest of what is done was.
        return self.progress.newest - self._remembered

    def _remember(self, event_id: str, time: int) -> None:
        self.seen[event_id] = time
        ids, times = self._order
        ids.append(event_id)
        times.append(time)
        if len(self.seen) > self.stream.ids and (first := self._first()) is not None:
            del self.seen[first]
            self.evicted.append(first)

    def _first(self) -> str | None:
        """The id that was accepted first of those that are remembered."""
        ids, times = self._order
        while ids:
            if self.seen.get(ids[0]) == times[0]:
                return ids[0]
            # It is forgotten, or was accepted again since.
            ids.popleft()
            times.popleft()
        return None

    def _keep(
        self,
        events: EventColumns,
        positions: list[tuple[int, int, int]],
        keys: list[int],
        watermarks: list[int],
        now: int,
    ) -> None:
        waiting = Waiting(
            events,
            np.array(positions, np.int64).reshape(-1, 3),
            np.array(keys, np.int64),
            np.array(watermarks, np.int64),
            np.full(len(keys), now),
        )
        if self.waiting is None:
            self.waiting = waiting
        else:
            self.waiting.extend(waiting)
