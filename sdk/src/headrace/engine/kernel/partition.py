"""An owned partition: the events that it accepts, those that wait, and its progress.

Each event has a *key*: the newest event time of its partition up to and including that event. Keys never decrease along
a partition, so work done in the order of keys is also done in the order of positions.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from headrace.definition import ModelDefinition, StreamDefinition
from headrace.engine.arrays import Ints
from headrace.engine.events.columns import EventColumns
from headrace.engine.events.lateness import too_far_ahead, too_late
from headrace.engine.marks import Mark, refusal_of
from headrace.errors import InvalidEvent
from headrace.watermark import ENDED, IDLE, UNKNOWN


class PartitionId(NamedTuple):
    """A partition of a stream."""

    stream: str
    partition: int

    def __str__(self) -> str:
        return f"{self.stream}-{self.partition}"


class RowsId(NamedTuple):
    """The rows of a view in one partition."""

    view: str
    partition: int


@dataclass
class Progress:
    """Progress of a partition, as the store keeps it.

    Attributes
    ----------
    done
        Everything up to here is in the rows, and its vectors have been written.
    emitted
        The vectors up to here have been written.
    newest
        The newest event time up to `done`.
    watermark
        No event after `done` is accepted if it is before this time.
    ended
        The last message up to `done` declared the end of its history.
    refused
        The dead letters up to here have been written. While rows are rebuilt, this is far ahead of `done`.
    """

    done: tuple[int, int, int] = (-1, -1, -1)
    emitted: tuple[int, int, int] = (-1, -1, -1)
    newest: int = UNKNOWN
    watermark: int = UNKNOWN
    ended: bool = False
    refused: tuple[int, int, int] = (-1, -1, -1)

    def restarted(self) -> Progress:
        """Return the progress from which the whole log is folded again; outputs already written are not repeated."""
        return Progress(emitted=self.emitted, refused=max(self.refused, self.done))


class Reached(NamedTuple):
    """Progress of a partition that another worker owns.

    Attributes
    ----------
    folded
        No event before this time remains to be folded.
    out
        No vector before this time remains to be made.
    """

    folded: int = UNKNOWN
    out: int = UNKNOWN

    @property
    def is_idle(self) -> bool:
        """Whether nothing was in flight at the time of this report, so that no worker needs to wait for more."""
        return min(self) >= IDLE


class Refused(NamedTuple):
    """An event that was not accepted: its place in the batch, and the reason (None: sent before)."""

    place: int
    reason: InvalidEvent | None


@dataclass
class Waiting:
    """Events of one partition, in order.

    Attributes
    ----------
    watermarks
        The partition's watermark at each event: neither that event nor any later one is before it.
    since
        Wall-clock time at which each event was accepted.
    folded
        Number of events, from the first, that are in the rows.
    made
        By model: number of events, from the first, whose vectors are made.
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

    def extend(self, other: Waiting) -> None:
        self.columns = EventColumns.concat([self.columns, other.columns])
        self.positions = np.concatenate([self.positions, other.positions])
        self.keys = np.concatenate([self.keys, other.keys])
        self.watermarks = np.concatenate([self.watermarks, other.watermarks])
        # The clock may be set back; keep `since` in the order of positions.
        self.since = np.concatenate([self.since, np.maximum(other.since, self.since[-1])])

    def drop(self, count: int) -> None:
        self.columns = self.columns.take(range(count, len(self)))
        self.positions, self.keys, self.since = self.positions[count:], self.keys[count:], self.since[count:]
        self.watermarks = self.watermarks[count:]
        self.folded -= count
        self.made = {model: number - count for model, number in self.made.items()}


#: Length of the longest id that is remembered as it is.
_LONGEST_ID = 64


def remembered(event_id: str) -> str:
    """Return what is remembered of an id, a digest if it is long: the number of ids thus bounds their bytes."""
    if len(event_id) <= _LONGEST_ID:
        return event_id
    return hashlib.blake2b(event_id.encode(errors="surrogatepass"), digest_size=_LONGEST_ID // 2).hexdigest()


@dataclass
class Partition:
    """An owned partition.

    Acceptance depends only on the partition's messages and their order, never on a clock. Every reader of the partition
    therefore accepts the same events, whenever it reads them.

    Attributes
    ----------
    watermark
        Time before which no further event is accepted: the newest event time minus the lateness, or a later mark. It
        moves back only when a mark is withdrawn.
    idle
        The log ended some time ago: the loop does not wait for this partition until its next event or mark.
    ended
        A producer has declared that its history ends here: the same effect as `idle`, but at once.
    unread
        Nothing has been read since the takeover: more may have followed the end that a former owner read, so `ended`
        has no effect yet.
    known_end
        Ledger and entry up to which the log is known to go: an end of history before that has no effect.
    evicted
        Ids forgotten because there are too many, since `evicted` was last cleared.
    """

    stream: StreamDefinition
    progress: Progress
    seen: dict[str, int]
    models: tuple[ModelDefinition, ...]
    newest: int = UNKNOWN
    watermark: int = UNKNOWN
    idle: bool = False
    ended: bool = False
    unread: bool = False
    waiting: Waiting | None = None
    unsaved: dict[str, int] = field(default_factory=dict)
    evicted: list[str] = field(default_factory=list)
    last: tuple[int, int, int] = (-1, -1, -1)
    known_end: tuple[int, int] = (-1, -1)

    def __post_init__(self) -> None:
        # The ids and times of `seen` in the order of acceptance. Finding the first key of a dictionary that has
        # lost many keys scans all their places.
        self._order = deque(self.seen), deque(self.seen.values())

    @property
    def release_watermark(self) -> int:
        """The time up to which the loop need not wait for this partition: its watermark, `IDLE` or `ENDED`."""
        if self.ended and not self.unread and self.last[:2] >= self.known_end:
            return ENDED
        return IDLE if self.idle else self.watermark

    @property
    def backlog(self) -> int:
        return len(self.waiting) if self.waiting else 0

    @property
    def _id_memory(self) -> int:
        return max(self.stream.horizon, self.stream.lateness)

    def release_watermark_out(self, model: str = "") -> int:
        """Return the time before which no vector (of this model) comes, unless an idle or ended partition resumes."""
        return min(self.release_watermark, self._unmade_time(model))

    def watermark_out(self, model: str = "") -> int:
        """Return the time before which no vector (of this model) comes, in any case."""
        return min(self.watermark, self._unmade_time(model))

    def _unmade_time(self, model: str) -> int:
        waiting = self.waiting
        number = waiting.made.get(model, 0) if waiting else 0
        return ENDED if waiting is None or number >= len(waiting) else int(waiting.watermarks[number])

    def settle(self) -> None:
        """Count everything read as done if no event waits, with the watermark and the end that followed it."""
        if self.waiting is None:
            self.progress.done = max(self.progress.done, self.last)
            self.progress.watermark = self.watermark
            self.progress.ended = self.ended

    def accept(
        self, events: EventColumns, positions: Sequence[tuple[int, int, int]], published: Sequence[int], now: int = 0
    ) -> list[Refused]:
        """Accept events in order; return the refused ones: sent before, too late or too far ahead.

        Parameters
        ----------
        published
            Publish time of each event (µs), from which `ahead` is measured.
        now
            Wall-clock time, from which models measure how long a vector waits.
        """
        stream = self.stream
        self.unread = False
        refused: list[Refused] = []
        rows: list[int] = []
        keys: list[int] = []
        watermarks: list[int] = []
        newest, watermark = self.newest, self.watermark
        times = events.times.tolist()
        for index, (event_id, time, at) in enumerate(zip(map(remembered, events.ids), times, published, strict=True)):
            # Compare with the horizon, not with memory: the moment at which ids are forgotten must not matter.
            if event_id in self.seen and self.seen[event_id] >= newest - self._id_memory:
                refused.append(Refused(index, None))
            elif time < watermark:
                refused.append(Refused(index, too_late(stream, time, watermark)))
            elif stream.ahead is not None and time > at + stream.ahead:
                refused.append(Refused(index, too_far_ahead(stream, time, at + stream.ahead)))
            else:
                newest = max(newest, time)
                rows.append(index)
                keys.append(newest)
                watermark = max(watermark, newest - stream.lateness)
                watermarks.append(watermark)
                self._remember(event_id, time)
        if rows:
            accepted = events if len(rows) == len(events) else events.take(rows)
            self._keep(accepted, [positions[i] for i in rows], keys, watermarks, now=now)
            self.newest, self.watermark = newest, watermark
            self.idle = self.ended = False
        if len(positions):
            self.last = positions[-1]
        return refused

    @property
    def event_watermark(self) -> int:
        """The watermark from events alone, without marks."""
        return UNKNOWN if self.newest <= UNKNOWN else self.newest - self.stream.lateness

    def mark(self, mark: Mark, position: tuple[int, int, int], published: int) -> InvalidEvent | None:
        """Apply a mark published at a time (µs); return the reason if it is refused and has no effect."""
        self.last = position
        self.unread = False
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
        """Move the watermark back, also for waiting events: older events may follow them now."""
        self.watermark = min(self.watermark, watermark)
        if self.waiting is not None:
            self.waiting.watermarks = np.minimum(self.waiting.watermarks, self.watermark)

    def wake(self, position: tuple[int, int, int]) -> None:
        """Skip a message without content."""
        self.unread = False
        self.last = position

    def end(self, position: tuple[int, int, int]) -> None:
        """Record the end of a producer's history. More events may follow, so nothing expires because of this."""
        self.ended, self.unread = True, False
        self.last = position

    def expect(self, end: tuple[int, int]) -> None:
        """Note that the log goes on at least to this ledger and entry."""
        self.known_end = end

    def stay_ended(self) -> None:
        """Note that the log was empty behind what a former owner read."""
        self.unread = False

    def become_idle(self) -> None:
        """Mark the partition idle because its backlog has long been empty: it delays no one until the next event."""
        self.idle = True

    def outdated_ids(self) -> list[str]:
        """Return the ids that `forget_ids` would drop."""
        oldest, outdated = self.newest - self._id_memory, []
        for event_id, time in zip(*self._order, strict=True):
            last_time = self.seen.get(event_id)
            if last_time == time and time >= oldest:
                break
            if last_time == time:
                outdated.append(event_id)
        return outdated

    def forget_ids(self) -> int:
        """Drop the ids older than the stream's horizon; return the oldest time that a new owner needs."""
        oldest = self.newest - self._id_memory
        while (first := self._first()) is not None and self.seen[first] < oldest:
            del self.seen[first]
        # The next owner judges everything after `done` again, starting from the newest event time up to `done`.
        return self.progress.newest - self._id_memory

    def _remember(self, event_id: str, time: int) -> None:
        self.seen[event_id] = time
        ids, times = self._order
        ids.append(event_id)
        times.append(time)
        if len(self.seen) > self.stream.ids and (first := self._first()) is not None:
            del self.seen[first]
            self.evicted.append(first)

    def _first(self) -> str | None:
        """Return the remembered id that was accepted first."""
        ids, times = self._order
        while ids:
            if self.seen.get(ids[0]) == times[0]:
                return ids[0]
            # The id was forgotten, or accepted again since.
            ids.popleft()
            times.popleft()
        return None

    def _keep(
        self,
        events: EventColumns,
        positions: list[tuple[int, int, int]],
        keys: list[int],
        watermarks: list[int],
        *,
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
