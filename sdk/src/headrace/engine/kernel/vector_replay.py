"""Recompute vectors: fold whole logs, and place each read where it was made or where it should have been made.

A read at its *cut* comes directly after the event that was the row's newest, whatever position the row's partition had
reached: a row does not change between two events of its entity. A *complete* read comes when no event that it could
see remains to be folded, as for a vector that waits for every partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.engine.arrays import Ints
from headrace.engine.events.columns import EventColumns
from headrace.engine.kernel.assembly import Assembled, Assembler, RowRead
from headrace.engine.kernel.partition import PartitionId, Waiting
from headrace.engine.kernel.preparation import Folding, Folds
from headrace.engine.kernel.rows import Reads, RowSet
from headrace.engine.kernel.timeline import Timeline

#: Memory for one pass over the streams, in bytes: a pass computes as many vectors as fit.
PASS_BYTES = 3 * 2**29

#: Number of vectors assembled at once.
_SLICE = 10_000

#: Sort order of the folds and reads of one log: the bytes of positions, or event times.
_Orders = npt.NDArray[Any]


class VectorReplay:
    """Recomputes N vectors of one model.

    Feed it the logs of `streams`. For each stream, feed the partitions in order and each one as a whole: call
    `partition`, then `PartitionReplay.fold` for its events in order, then `PartitionReplay.finish`.

    Parameters
    ----------
    events
        The N events.
    keys
        int64[N]: the key of each event in its partition (see `headrace.engine.kernel.partition`).
    cuts
        int64[N, C, 3]: read each row at this position; None: read completely.
    rows
        Rows to continue from, by view and partition; they are left in place for the replay of the events that follow.
        Feed this replay the events after those that the previous one was fed: everything before the reads of these N
        events, and nothing after the reads of later events.
    """

    def __init__(
        self,
        loop: LoopDefinition,
        model: ModelDefinition,
        events: EventColumns,
        keys: Ints,
        *,
        cuts: Ints | None = None,
        rows: dict[tuple[str, int], RowSet] | None = None,
    ) -> None:
        self._loop = loop
        self._events = events
        self._keys = keys
        self._recorded = cuts
        self._row_sets = rows
        self._assembler = Assembler(loop, model)
        self._firsts = np.cumsum([0, *self._assembler.partitions]).tolist()
        size = len(events)
        self._parts = [
            np.empty((size, len(layout.windows), layout.width))
            for layout in (self._assembler.layouts[read.view] for read in self.reads)
        ]
        self._cuts = np.full((size, self._firsts[-1], 3), -1, np.int64)
        texts: dict[str | None, str | None] = {}  # share one object per key, because keys repeat and N is large
        self._entities = [
            [texts.setdefault(key, key) for key in self._assembler.keys(events, read)] for read in self.reads
        ]

    @property
    def reads(self) -> tuple[RowRead, ...]:
        """The rows that a vector reads; cuts have an entry for each read and partition, in this order."""
        return self._assembler.reads

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams whose logs are needed."""
        return tuple(dict.fromkeys(self._loop.view(read.view).stream for read in self.reads))

    def partition(self, source: PartitionId) -> PartitionReplay:
        """Begin the log of a partition."""
        views = dict.fromkeys(read.view for read in self.reads if self._loop.view(read.view).stream == source.stream)
        return PartitionReplay([self._rows(name, source) for name in views], by_position=self._recorded is not None)

    def assemble(self) -> Assembled:
        """Assemble the vectors; their cuts are the positions of the rows that were read now."""
        size = len(self._events)
        slices = [self._slice(range(at, min(at + _SLICE, size))) for at in range(0, max(size, 1), _SLICE)]
        categories = [
            [value for part in slices for value in part.categories[column]]
            for column in range(len(slices[0].categories))
        ]
        numbers = np.concatenate([part.numbers for part in slices])
        newest = np.concatenate([part.newest for part in slices])
        return Assembled(numbers, categories, self._cuts, newest, 0)

    def _slice(self, rows: range) -> Assembled:
        nothing, never = np.full((len(rows), 3), -1, np.int64), np.zeros(len(rows), np.int64)
        reads = [[Reads(parts[rows.start : rows.stop], nothing, never, 0)] for parts in self._parts]
        return self._assembler.assemble(self._events.take(rows), reads)

    def _rows(self, view: str, source: PartitionId) -> _RowsReplay:
        layout = self._assembler.layouts[view]
        reads = [
            _Reading(
                self,
                index,
                source,
                self._entities[index],
                times=self._events.times,
                orders=self._orders(index, source),
            )
            for index, read in enumerate(self.reads)
            if read.view == view
        ]
        if self._row_sets is None:
            return _RowsReplay(RowSet(layout), Folding(layout.view, layout), reads)
        rows = self._row_sets.setdefault((view, source.partition), RowSet(layout))
        return _RowsReplay(rows, Folding(layout.view, layout), reads, goes_on=True)

    def _orders(self, read: int, source: PartitionId) -> _Orders:
        if self._recorded is not None:
            return orders_of(self._recorded[:, self._firsts[read] + source.partition])
        # An event before time t has a key of at most t + lateness.
        return self._keys + self._loop.stream(source.stream).lateness

    def _take(self, read: int, partition: int, rows: Ints, result: Reads) -> None:
        self._cuts[rows, self._firsts[read] + partition] = result.cuts
        parts = self._parts[read]
        if partition == 0:
            parts[rows] = result.parts
            return
        total = parts[rows]
        self._assembler.layouts[self.reads[read].view].merge(total, result.parts)
        parts[rows] = total


class PartitionReplay:
    """One partition's log, folded in order, with the reads between its events."""

    def __init__(self, rows: Sequence[_RowsReplay], by_position: bool) -> None:
        self._rows = rows
        self._by_position = by_position

    @property
    def done(self) -> bool:
        """Whether every read is done, so that the rest of the log makes no difference."""
        return all(rows.done for rows in self._rows)

    def fold(self, waiting: Waiting) -> None:
        """Fold the next events."""
        orders = orders_of(waiting.positions) if self._by_position else waiting.keys
        for rows in self._rows:
            rows.fold(waiting, orders)

    def finish(self) -> None:
        """Execute the remaining reads at the end of the log."""
        for rows in self._rows:
            rows.finish()


class _Reading:
    """The reads of one kind of row in one partition, in the order of its log."""

    def __init__(
        self,
        owner: VectorReplay,
        read: int,
        source: PartitionId,
        entities: list[str | None],
        *,
        times: Ints,
        orders: _Orders,
    ) -> None:
        self._owner = owner
        self._read = read
        self._partition = source.partition
        self._entities = entities
        self._times = times
        self._sorted = np.argsort(orders, kind="stable")
        self._orders = orders[self._sorted]
        self._next = 0

    @property
    def done(self) -> bool:
        return self._next == len(self._orders)

    def entities(self) -> set[str]:
        """Return all entities that it reads."""
        return {entity for entity in self._entities if entity is not None}

    def ask(self, timeline: Timeline, folds: _Orders) -> Ints:
        """Insert the reads that come before the last of these folds between them; without folds, insert all reads."""
        end = int(np.searchsorted(self._orders, folds[-1], side="left")) if len(folds) else len(self._orders)
        ready, orders = self._sorted[self._next : end], self._orders[self._next : end]
        self._next = end
        before = np.searchsorted(folds, orders, side="right") if len(folds) else np.zeros(len(ready), np.int64)
        timeline.read([self._entities[row] for row in ready.tolist()], self._times[ready], before)
        return ready

    def take(self, rows: Ints, result: Reads) -> None:
        self._owner._take(self._read, self._partition, rows, result)


class _RowsReplay:
    """The rows of one view in one partition; with `goes_on`, later replays read them too."""

    def __init__(self, rows: RowSet, folding: Folding, reads: Sequence[_Reading], goes_on: bool = False) -> None:
        self._goes_on = goes_on
        self._rows = rows
        self._folding = folding
        self._reads = reads
        self._entities = set[str]().union(*(read.entities() for read in reads))

    @property
    def done(self) -> bool:
        return all(read.done for read in self._reads)

    def fold(self, waiting: Waiting, orders: _Orders) -> None:
        if (self.done and not self._goes_on) or not len(waiting):
            return
        keys, values = self._folding.prepare(waiting.columns)
        if not self._goes_on:
            # Entities that no vector reads need no rows.
            keys = [key if key in self._entities else None for key in keys]
        timeline = Timeline(self._rows)
        # The i-th event has moment i + 1; the moment of a read is the number of events before it.
        moments = np.arange(1, len(keys) + 1, dtype=np.int64)
        timeline.fold(Folds(keys, values), waiting.columns.times, moments, waiting.positions)
        self._run(timeline, orders)

    def finish(self) -> None:
        self._run(Timeline(self._rows), np.empty(0, np.int64))

    def _run(self, timeline: Timeline, orders: _Orders) -> None:
        batches = [read.ask(timeline, orders) for read in self._reads]
        for read, rows, result in zip(self._reads, batches, timeline.run(), strict=True):
            read.take(rows, result)


def orders_of(positions: Ints) -> npt.NDArray[np.bytes_]:
    """Return positions (int64[N, 3]) as bytes that compare as the positions do."""
    words = np.ascontiguousarray(positions + 2).astype(">i8")
    return words.view("S24").reshape(len(positions))


def bytes_a_vector(assembler: Assembler, model: ModelDefinition) -> int:
    """Estimate the bytes that a vector takes while it is computed: as logged and recomputed, with its cuts and rows."""
    parts = sum(
        layout.width * len(layout.windows) for layout in (assembler.layouts[read.view] for read in assembler.reads)
    )
    cuts = 3 * sum(assembler.partitions)
    # Numbers and cuts are held as logged and as found, and once more while they are concatenated.
    return 8 * (4 * len(model.features) + 3 * cuts + parts + 8 * len(assembler.reads)) + 1_000
