"""An owned partition: which events it accepts, which wait, and how far it is done.

Each event has a *key*, the newest event time of its partition up to and with it, so a key never falls along a
partition: what is done in the order of keys is done in the order of positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from headrace.definition import ModelDefinition, StreamDefinition
from headrace.errors import InvalidEvent
from headrace.events.columns import EventColumns
from headrace.events.untimely import too_far_ahead, too_late
from headrace.frontier import ENDED, RESTING, UNKNOWN
from headrace.kernel.arrays import Ints


class PartitionId(NamedTuple):
    stream: str
    partition: int


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
    frontier
        No event behind `done` is before it, as far as was promised.
    refused
        The dead letters up to here are out: where rows are rebuilt, long before `done` comes there again.
    """

    done: tuple[int, int, int] = (-1, -1, -1)
    emitted: tuple[int, int, int] = (-1, -1, -1)
    newest: int = UNKNOWN
    frontier: int = UNKNOWN
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


class Refused(NamedTuple):
    """An event that was not accepted: its place in the batch, and why (None: sent before)."""

    place: int
    reason: InvalidEvent | None


@dataclass
class Waiting:
    """Events of one partition in their order.

    Attributes
    ----------
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
    since: Ints
    folded: int = 0
    made: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns)

    def extend(self, later: Waiting) -> None:
        self.columns = EventColumns.concat([self.columns, later.columns])
        self.positions = np.concatenate([self.positions, later.positions])
        self.keys = np.concatenate([self.keys, later.keys])
        # The clock may be set back; the order of positions stays.
        self.since = np.concatenate([self.since, np.maximum(later.since, self.since[-1])])

    def drop(self, count: int) -> None:
        self.columns = self.columns.take(range(count, len(self)))
        self.positions, self.keys, self.since = self.positions[count:], self.keys[count:], self.since[count:]
        self.folded -= count
        self.made = {model: made - count for model, made in self.made.items()}


@dataclass
class Partition:
    """An owned partition.

    Attributes
    ----------
    frontier
        No event before it is to come (as far as was promised); `RESTING` or `ENDED` while it holds nobody back.
    """

    stream: StreamDefinition
    progress: Progress
    seen: dict[str, int]
    models: tuple[ModelDefinition, ...]
    newest: int = UNKNOWN
    frontier: int = UNKNOWN
    waiting: Waiting | None = None
    unsaved: dict[str, int] = field(default_factory=dict)
    last: tuple[int, int, int] = (-1, -1, -1)

    @property
    def backlog(self) -> int:
        return len(self.waiting) if self.waiting else 0

    @property
    def _remembered(self) -> int:
        return max(self.stream.horizon, self.stream.lateness)

    def frontier_out(self, model: str = "") -> int:
        """No vector (of this model) before this time is to come."""
        waiting = self.waiting
        made = waiting.made.get(model, 0) if waiting else 0
        if waiting is None or made >= len(waiting):
            return self.frontier
        return min(self.frontier, int(waiting.keys[made]) - self.stream.lateness)

    def settle(self) -> None:
        """Where nothing waits, all that was read is done, and what was promised behind it holds."""
        if self.waiting is None:
            self.progress.done = max(self.progress.done, self.last)
            self.progress.frontier = self.frontier

    def accept(
        self, events: EventColumns, positions: Sequence[tuple[int, int, int]], published: Sequence[int], now: int
    ) -> list[Refused]:
        """Take events in their order; returns those that are not: sent before, too late, too far ahead.

        How far ahead one may be is counted from when it was published, so that whoever reads it, and whenever, judges
        it alike; from now, where its publisher's clock is itself ahead.
        """
        stream = self.stream
        refused: list[Refused] = []
        kept: list[int] = []
        keys: list[int] = []
        ahead = stream.ahead if stream.ahead is not None else ENDED
        newest = self.newest
        for index, (own, time, at) in enumerate(zip(events.ids, events.times.tolist(), published, strict=True)):
            # Judged by the horizon, not by what is still in memory: when ids are forgotten must not matter.
            if own in self.seen and self.seen[own] >= newest - self._remembered:
                refused.append(Refused(index, None))
            elif time < newest - stream.lateness:
                refused.append(Refused(index, too_late(stream, time, newest - stream.lateness)))
            elif time > (latest := min(at, now) + ahead):
                refused.append(Refused(index, too_far_ahead(stream, time, latest)))
            else:
                newest = max(newest, time)
                kept.append(index)
                keys.append(newest)
                self.seen.pop(own, None)
                self.seen[own] = time
        if kept:
            self._keep(
                events if len(kept) == len(events) else events.take(kept), [positions[i] for i in kept], keys, now
            )
            self.newest = newest
            self.frontier = newest - stream.lateness
        if len(positions):
            self.last = positions[-1]
        return refused

    def promise(self, frontier: int, position: tuple[int, int, int]) -> None:
        """A producer says that no event before `frontier` follows; `UNKNOWN` says nothing."""
        if self.frontier >= RESTING and frontier > UNKNOWN:
            # Who had rested, or ended, goes on: a new history follows the one before.
            self.frontier = self.newest - self.stream.lateness if self.newest > UNKNOWN else UNKNOWN
        self.frontier = max(self.frontier, frontier)
        self.last = position

    def rest(self) -> None:
        """The backlog has been empty for long: hold nobody back until the next event."""
        self.frontier = max(self.frontier, RESTING)

    def outdated_ids(self) -> list[str]:
        """The ids that `forget_ids` drops."""
        oldest = self.newest - self._remembered
        return list(takewhile(lambda own: self.seen[own] < oldest, self.seen))

    def forget_ids(self) -> int:
        """Drop the ids that are older than the stream's horizon; returns the oldest time that a new owner needs."""
        oldest = self.newest - self._remembered
        while self.seen:
            own = next(iter(self.seen))
            if self.seen[own] >= oldest:
                break
            del self.seen[own]
        # Who follows judges again what is not done yet: as new as the newest of what is done was.
        return self.progress.newest - self._remembered

    def _keep(self, events: EventColumns, positions: list[tuple[int, int, int]], keys: list[int], now: int) -> None:
        where, when = np.array(positions, np.int64).reshape(-1, 3), np.array(keys, np.int64)
        own = Waiting(events, where, when, np.full(len(keys), now))
        if self.waiting is None:
            self.waiting = own
        else:
            self.waiting.extend(own)
