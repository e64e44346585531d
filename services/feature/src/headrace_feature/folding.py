"""The fold worker: events of the partitions it owns into rows and vectors, each step made durable in its order.

One step: emit the vectors, record *emitted*, write the rows, record *done*. The broker's acknowledgement
follows once the store has all of it on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from headrace.errors import InvalidEvent
from headrace.events import EventColumns, StreamCodec
from headrace.frontier import ENDED, RESTING, UNKNOWN
from headrace.kernel.fold import Changed, Fold, Plan
from headrace.kernel.partition import Partition, PartitionId, RowsId
from headrace.log.consume import Batch
from headrace.log.position import START, Position
from headrace.log.refusals import Refusals
from headrace.log.topics import FRONTIER
from headrace.store.partitions import PartitionStore, Standing
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
        self._told: dict[tuple[str, PartitionId], int] = {}
        self._saved: dict[PartitionId, Standing] = {}
        self._used: dict[RowsId, dict[str, None]] = {}
        self._others = ENDED
        self._ends: dict[PartitionId, Position] = {}
        self._silent: dict[PartitionId, Position] = {}
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
            owned.last = part.positions[-1]  # of an invalid one, maybe
            dead = list(part.invalid)
            for place, reason in refused:
                if reason is None:
                    self._heartbeat.count("resent")
                else:
                    dead.append((part.valid[place], reason))
            for row, reason in dead:
                self._refusals.refuse(partition.stream, reason, part.payloads[row], part.positions[row])
            self._heartbeat.count("dead_letters", len(dead))

    def rest(self, partition: PartitionId, end: Position) -> None:
        """The partition has been silent for long, and its log ends here: it holds nobody back."""
        owned = self._fold.partitions.get(partition)
        if owned is not None:
            owned.rest()
            return
        # Not ours, so its silence says nothing of its log: that it is empty, or has not grown meanwhile, does.
        self._silent.pop(partition, None)
        if end == START or self._ends.get(partition) == end:
            self._silent[partition] = end
        self._ends[partition] = end

    def rests(self, partition: PartitionId) -> bool:
        """Whether nothing of the partition is under way, here or elsewhere, nor has been for long."""
        owned = self._fold.partitions.get(partition)
        if owned is None:
            return self._is_silent(partition, self._partitions.standing(partition))
        done = Position(*owned.progress.done)
        return not owned.backlog and owned.frontier >= RESTING and self._saved.get(partition) == (owned.frontier, done)

    def full(self, partition: PartitionId, bound: int) -> bool:
        """Whether to read no more of a partition until more than `bound` events of it are not done.

        The one whose frontier is the least is read on: everybody waits for what it brings.
        """
        owned = self._fold.partitions.get(partition)
        if owned is None or owned.backlog <= bound:
            return False
        return owned.frontier > min(self._others, *(own.frontier for own in tuple(self._fold.partitions.values())))

    def step(self) -> bool:
        """Do what can be done now; False where there was nothing."""
        others = self._frontiers_of_others()
        self._others = min(others, default=ENDED)
        plan = self._fold.plan(others, self._clock())
        if plan.empty:
            # What was refused, or sent before, is done without a step.
            self._refusals.flush()
            self._fold.settle()
            self._tell()
            return False
        remote = self._load(plan)
        step = self._fold.execute(plan, remote)
        for made in step.vectors:
            frontier = self._fold.frontier_out(made.source, made.model.name)
            self._outputs.send(made, frontier)
            self._told[made.model.name, made.source] = frontier
            self._heartbeat.count("vectors", len(made.ids))
            self._heartbeat.count("behind", made.assembled.behind)
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
        return {own: standing.done for own, standing in self._saved.items()}

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
        found = {own: self._partitions.standing(own) for own in others}
        return [
            UNKNOWN if standing is None else standing.frontier
            for own, standing in found.items()
            if not self._is_silent(own, standing)
        ]

    def _is_silent(self, partition: PartitionId, standing: Standing | None) -> bool:
        """Whether a partition of somebody else, or of nobody, has long had no event that is not done."""
        end = self._silent.get(partition)
        if end is None:
            return False
        done = START if standing is None else standing.done
        return (done.ledger, done.entry) == (end.ledger, end.entry)

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
            self._tell_readers(name, own)
            standing = Standing(self._fold.frontier_folded(name), Position(*own.progress.done))
            if self._saved.get(name) == standing:
                continue
            oldest = own.forget_ids()
            self._partitions.save(name, self._epochs[name], own.progress, standing.frontier, own.unsaved, oldest)
            own.unsaved.clear()
            self._saved[name] = standing

    def _tell_readers(self, name: PartitionId, own: Partition) -> None:
        moved = {model.name: self._fold.frontier_out(name, model.name) for model in own.models}
        moved = {model: frontier for model, frontier in moved.items() if self._told.get((model, name)) != frontier}
        for model in own.models:
            if model.name in moved:
                self._outputs.frontier(model, name, moved[model.name])
                self._told[model.name, name] = moved[model.name]
        if moved:
            self._outputs.flush()

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
        frontier = _promised(properties)
        if frontier is None:
            continue
        # An event may carry a promise of what follows it.
        end = index + 1 if batch.payloads[index] else index
        if end > start:
            runs.append(_events(codec, batch, start, end))
        marker = Decoded([batch.positions[index]], [b""])
        marker.frontier = min(frontier, ENDED)
        runs.append(marker)
        start = index + 1
    if start < len(batch):
        runs.append(_events(codec, batch, start, len(batch)))
    return runs


def _promised(properties: Mapping[str, str]) -> int | None:
    """The frontier that a message promises; what is no time promises nothing, and is read as an event."""
    try:
        return int(properties[FRONTIER])
    except (KeyError, ValueError):
        return None


def _events(codec: StreamCodec, batch: Batch, start: int, end: int) -> Decoded:
    run = Decoded(batch.positions[start:end], batch.payloads[start:end])
    run.events, run.valid, run.invalid = codec.columns(run.payloads)
    return run
