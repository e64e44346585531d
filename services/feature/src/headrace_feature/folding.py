"""The fold worker: events of the partitions it owns into rows and vectors, each step made durable in its order.

One step: emit the vectors, record *emitted*, write the rows, record *done*. The broker's acknowledgement
follows once the store has all of it on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from headrace.errors import InvalidEvent
from headrace.events import EventColumns, StreamCodec
from headrace.frontier import ENDED, UNKNOWN
from headrace.kernel.fold import Changed, Fold, PartitionId, Plan, RowsId
from headrace.log.consume import Batch
from headrace.log.position import Position
from headrace.log.refusals import Refusals
from headrace.log.topics import FRONTIER
from headrace.store.partitions import PartitionStore
from headrace.store.rows import RowStore, Write
from headrace.store.status import Heartbeat
from headrace_feature.outputs import VectorOutputs

_log = structlog.get_logger()


def wall_clock() -> int:
    """Now, in µs since the epoch."""
    return time.time_ns() // 1_000


class FoldWorker:
    """Folds and assembles for the partitions that it owns. Not thread-safe: one thread calls it.

    Parameters
    ----------
    max_rows
        Rows of one view and partition held in memory; beyond it, those longest unused are dropped.
    """

    def __init__(
        self,
        fold: Fold,
        rows: RowStore,
        partitions: PartitionStore,
        outputs: VectorOutputs,
        refusals: Refusals,
        heartbeat: Heartbeat,
        max_rows: int,
        clock: Callable[[], int] = wall_clock,
    ) -> None:
        self._fold = fold
        self._rows = rows
        self._partitions = partitions
        self._outputs = outputs
        self._refusals = refusals
        self._heartbeat = heartbeat
        self._max_rows = max_rows
        self._clock = clock
        self._epochs: dict[PartitionId, int] = {}
        self._told: dict[PartitionId, int] = {}
        self._saved: dict[PartitionId, Position] = {}
        self._used: dict[RowsId, dict[str, None]] = {}
        self._silent: set[PartitionId] = set()
        self._codecs = {stream.name: StreamCodec(stream) for stream in fold.loop.streams}

    def take_over(self, partition: PartitionId) -> Position:
        """Become the owner of a partition; returns where its state stands."""
        epoch, progress, seen = self._partitions.take_over(partition)
        owned = self._fold.own(partition, progress, seen)
        self._epochs[partition] = epoch
        self._outputs.open(partition, epoch, owned.models)
        _log.info("partition taken", partition=str(partition), epoch=epoch, done=str(progress.done))
        return Position(*progress.done)

    def decode(self, partition: PartitionId, batch: Batch) -> list[Decoded]:
        """Read a batch; needs no state, so any thread may call it."""
        return decode(self._codecs[partition.stream], batch)

    def accept(self, partition: PartitionId, decoded: Sequence[Decoded]) -> None:
        """Take what was read, in order; what is not valid goes to the dead letters."""
        owned = self._fold.partitions[partition]
        for part in decoded:
            if part.frontier is not None:
                owned.promise(part.frontier, part.positions[-1])
                continue
            refused = owned.accept(part.events, [part.positions[row] for row in part.valid], self._clock())
            dead = list(part.invalid)
            for place, reason in refused:
                if reason is None:
                    self._heartbeat.count("resent")
                else:
                    dead.append((part.valid[place], reason))
            for row, reason in dead:
                self._refusals.refuse(partition.stream, reason, part.payloads[row], part.positions[row])
            self._heartbeat.count("dead_letters", len(dead))

    def rest(self, partition: PartitionId) -> None:
        """The partition has been silent for long: it holds nobody back."""
        owned = self._fold.partitions.get(partition)
        if owned is None:
            # Not ours. If it is nobody's, for want of a first event, nobody has to wait for it.
            self._silent.add(partition)
        else:
            owned.rest()

    def backlog(self, partition: PartitionId) -> int:
        """Events accepted that are not done."""
        owned = self._fold.partitions.get(partition)
        return 0 if owned is None else owned.backlog

    def step(self) -> bool:
        """Do what can be done now; False where there was nothing."""
        plan = self._fold.plan(self._frontiers_of_others())
        if plan.empty:
            self._tell()
            return False
        remote = self._load(plan)
        step = self._fold.execute(plan, remote)
        for made in step.vectors:
            self._outputs.send(made, self._fold.frontier_out(made.source))
            self._heartbeat.count("vectors", len(made.ids))
            self._heartbeat.count("behind", made.assembled.behind)
            self._told[made.source] = self._fold.frontier_out(made.source)
        self._refusals.flush()
        self._outputs.flush()
        for source in {made.source for made in step.vectors}:
            self._partitions.record_emitted(source, self._epochs[source], self._fold.partitions[source].progress)
        self._write(step.changed)
        self._tell()
        self._heartbeat.count("events", step.folded)
        self._forget()
        return True

    def done(self) -> dict[PartitionId, Position]:
        """Up to where each partition has been saved."""
        return dict(self._saved)

    def frontier(self) -> int | None:
        """The event time up to which this worker's partitions are done; None before the first event."""
        # Only what has had an event counts: a stream that has never spoken has nothing to be behind with.
        known = [self._fold.frontier_out(name) for name, own in self._fold.partitions.items() if own.last[0] >= 0]
        return min(known, default=None)

    def newest(self) -> int | None:
        """The newest event time that this worker's partitions have seen; None before the first event."""
        return max((own.newest for own in self._fold.partitions.values() if own.newest > UNKNOWN), default=None)

    def _frontiers_of_others(self) -> list[int]:
        others = [
            own
            for name in self._fold.streams
            for own in (PartitionId(name, index) for index in range(self._fold.loop.stream(name).partitions))
            if own not in self._fold.partitions
        ]
        found = {own: self._partitions.frontier(own) for own in others}
        return [
            UNKNOWN if frontier is None else frontier
            for own, frontier in found.items()
            if frontier is not None or own not in self._silent
        ]

    def _load(self, plan: Plan) -> dict[RowsId, dict[str, bytes]]:
        if not plan.needed:
            return {}
        found = self._rows.load(plan.needed)
        remote: dict[RowsId, dict[str, bytes]] = {}
        for rows, states in found.items():
            held = self._fold.rows.get(rows)
            if held is None:
                remote[rows] = states
                continue
            for key, state in states.items():
                held.add(key, state)
            self._use(rows, states)
        return remote

    def _write(self, changed: Sequence[Changed]) -> None:
        by_partition: dict[PartitionId, list[Write]] = {}
        for rows, slots in changed:
            held = self._fold.rows[rows]
            source = PartitionId(self._fold.loop.view(rows.view).stream, rows.partition)
            states = held.dump(slots, self._epochs[source])
            keys = [held.key(slot) for slot in slots]
            by_partition.setdefault(source, []).append(Write(rows, dict(zip(keys, states, strict=True))))
            self._heartbeat.count("rows", len(slots))
            self._use(rows, keys)
        for source, writes in by_partition.items():
            self._rows.write(writes, str(source), self._epochs[source])

    def _tell(self) -> None:
        """Save the progress of every partition that moved, and tell readers of its frontier."""
        for name, own in self._fold.partitions.items():
            done, frontier = Position(*own.progress.done), self._fold.frontier_out(name)
            if self._saved.get(name) == done and self._told.get(name) == frontier:
                continue
            if self._told.get(name) != frontier:
                for model in own.models:
                    self._outputs.frontier(model, name, frontier)
                self._outputs.flush()
                self._told[name] = frontier
            oldest = own.forget_ids()
            self._partitions.save(name, self._epochs[name], own.progress, frontier, own.unsaved, oldest)
            own.unsaved.clear()
            self._saved[name] = done

    def _use(self, rows: RowsId, keys: Iterable[str]) -> None:
        recent = self._used.setdefault(rows, {})
        for key in keys:
            recent.pop(key, None)
            recent[key] = None

    def _forget(self) -> None:
        for rows, recent in self._used.items():
            held = self._fold.rows[rows]
            excess = len(held) - self._max_rows
            if excess > 0:
                oldest = [key for key in recent if key in held][: excess + self._max_rows // 10]
                held.forget(oldest)
                for key in oldest:
                    del recent[key]


class Decoded:
    """A run of messages of one partition: events, or one frontier marker."""

    def __init__(self, positions: list[Position], payloads: list[bytes]) -> None:
        self.positions = positions
        self.payloads = payloads
        self.frontier: int | None = None
        self.events: EventColumns
        self.valid: list[int] = []
        self.invalid: list[tuple[int, InvalidEvent]] = []


def decode(codec: StreamCodec, batch: Batch) -> list[Decoded]:
    """Split a batch at its frontier markers and read the events between them."""
    runs: list[Decoded] = []
    start = 0
    for index, properties in enumerate(batch.properties):
        if FRONTIER not in properties:
            continue
        if index > start:
            runs.append(_events(codec, batch, start, index))
        marker = Decoded([batch.positions[index]], [b""])
        marker.frontier = min(int(properties[FRONTIER]), ENDED)
        runs.append(marker)
        start = index + 1
    if start < len(batch):
        runs.append(_events(codec, batch, start, len(batch)))
    return runs


def _events(codec: StreamCodec, batch: Batch, start: int, end: int) -> Decoded:
    run = Decoded(batch.positions[start:end], batch.payloads[start:end])
    run.events, run.valid, run.invalid = codec.columns(run.payloads)
    return run
