"""A fold worker between a fake store, a fake log and fake dead letters, any effect of which may fail."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from headrace.definition import LoopDefinition, ModelDefinition, StreamDefinition
from headrace.engine.kernel.fold import Fold, MadeVectors
from headrace.engine.kernel.partition import PartitionId, Progress, Reached, RowsId
from headrace.engine.kernel.rows import FENCE_BYTES
from headrace.engine.kernel.tiles import HEADER_BYTES
from headrace.engine.marks import MARK
from headrace.errors import CorruptState, Fenced, InvalidEvent
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.redis.partitions import OwnerReport, TakenOver
from headrace.runtime.redis.rows import Write
from headrace.watermark import ENDED, UNKNOWN
from headrace.wire.deduplication import Accepted
from headrace.wire.position import START, Position
from headrace.wire.topics import END
from headrace_feature.fold_worker import FoldWorker
from headrace_feature.pulsar.outputs import OutputReached
from tests.support.kernel_loop import Event


class Crash(BaseException):
    """A kill -9: no handler sees it."""


@dataclass
class World:
    """The state that outlives a process, and the fate of its effects.

    `crash_at` is the last effect of a process; with `lost` it is not applied any more. `meanwhile` holds what others do
    right before an effect.
    """

    crash_at: int = -1
    lost: bool = False
    effects: int = 0
    epochs: Counter[PartitionId] = field(default_factory=Counter)
    progress: dict[PartitionId, Progress] = field(default_factory=dict)
    reached: dict[PartitionId, Reached] = field(default_factory=dict)
    seen: dict[PartitionId, dict[str, int]] = field(default_factory=dict)
    views: dict[PartitionId, frozenset[str]] = field(default_factory=dict)
    models: dict[PartitionId, frozenset[str]] = field(default_factory=dict)
    missed: dict[tuple[str, PartitionId], bytes] = field(default_factory=dict)
    goals: dict[PartitionId, Position] = field(default_factory=dict)
    oldest_epochs: dict[PartitionId, int] = field(default_factory=dict)
    decisions: dict[PartitionId, bytes] = field(default_factory=dict)
    rows: dict[tuple[RowsId, str], bytes] = field(default_factory=dict)
    readers: dict[tuple[str, PartitionId], Accepted] = field(default_factory=dict)
    vectors: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    told: dict[tuple[str, PartitionId], int] = field(default_factory=dict)
    watermarks: dict[tuple[str, PartitionId], int] = field(default_factory=dict)
    refused: list[tuple[Position | None, str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    meanwhile: dict[int, Callable[[], object]] = field(default_factory=dict)

    def effect(self) -> bool:
        """Return whether the next effect is applied; raise if it is the process's last one and lost."""
        self.effects += 1
        if self.effects in self.meanwhile:
            self.meanwhile.pop(self.effects)()
        if self.effects == self.crash_at and self.lost:
            raise Crash
        return True

    def after(self) -> None:
        if self.effects == self.crash_at:
            raise Crash

    def fence(self, partition: PartitionId, epoch: int) -> None:
        if self.epochs[partition] != epoch:
            raise Fenced(str(partition), epoch)


class Partitions:
    def __init__(self, world: World) -> None:
        self._world = world

    def known(self, partition: PartitionId) -> bool:
        return self._world.epochs[partition] > 0

    def take_over(self, partition: PartitionId) -> TakenOver:
        world = self._world
        world.epochs[partition] += 1
        progress = copy.copy(world.progress.get(partition, Progress()))
        seen = dict(world.seen.get(partition, {}))
        oldest_epoch = world.oldest_epochs.get(partition, 0)
        decisions = world.decisions.get(partition, b"")
        views, models = world.views.get(partition), world.models.get(partition, frozenset())
        return TakenOver(world.epochs[partition], progress, seen, views, models, oldest_epoch, decisions)

    def parts(self, partition: PartitionId) -> tuple[frozenset[str], frozenset[str]] | None:
        views = self._world.views.get(partition)
        return None if views is None else (views, self._world.models.get(partition, frozenset()))

    def record_emitted(self, partition: PartitionId, epoch: int, progress: Progress) -> None:
        self._world.effect()
        self._world.fence(partition, epoch)
        self._world.progress.setdefault(partition, Progress()).emitted = progress.emitted
        self._world.after()

    def save(
        self,
        partition: PartitionId,
        epoch: int,
        progress: Progress,
        reached: Reached,
        ids: Mapping[str, int],
        oldest: int,
        views: Iterable[str],
        models: Iterable[str],
        most_ids: int,
        decisions: bytes = b"",
    ) -> None:
        self._world.effect()
        self._world.fence(partition, epoch)
        self._world.progress[partition] = copy.copy(progress)
        self._world.reached[partition] = reached
        seen = self._world.seen.get(partition, {}) | dict(ids)
        self._world.seen[partition] = {id: time for id, time in seen.items() if time >= oldest}
        self._world.views[partition], self._world.models[partition] = frozenset(views), frozenset(models)
        if decisions:
            self._world.decisions[partition] = decisions
        self._world.after()

    def restart(
        self, partition: PartitionId, beyond: int, progress: Progress, goal: Position, views: Iterable[str],
        models: Iterable[str], lost: bool = False,
    ) -> int:  # fmt: skip
        self._world.epochs[partition] += 1
        if lost:
            self._world.oldest_epochs[partition] = self._world.epochs[partition]
        self._world.progress[partition], self._world.goals[partition] = copy.copy(progress), goal
        self._world.reached.pop(partition, None)
        self._world.seen[partition] = {}
        self._world.views[partition], self._world.models[partition] = frozenset(views), frozenset(models)
        return self._world.epochs[partition]

    def rebuilding(self, partitions: Sequence[PartitionId]) -> dict[PartitionId, tuple[Position, Position]]:
        goals, progress = self._world.goals, self._world.progress
        places = {name: (Position(*progress[name].done), goals[name]) for name in partitions if name in goals}
        return {name: (done, goal) for name, (done, goal) in places.items() if done < goal}

    def owner_reports(self, partitions: Sequence[PartitionId]) -> dict[PartitionId, OwnerReport | None]:
        return {partition: self._report(partition) for partition in partitions}

    def _report(self, partition: PartitionId) -> OwnerReport | None:
        world = self._world
        if not world.epochs[partition]:
            return None
        done = Position(*world.progress.get(partition, Progress()).done)
        views = world.views.get(partition, frozenset())
        return OwnerReport(world.epochs[partition], world.reached.get(partition, Reached()), done, views)


class Rows:
    """Rows as the store keeps them: a field is replaced only by a newer (epoch, position)."""

    def __init__(self, world: World) -> None:
        self._world = world

    def load(self, needed: Mapping[RowsId, Sequence[str]]) -> dict[RowsId, dict[str, bytes]]:
        rows = self._world.rows
        return {
            rows_id: {key: rows[rows_id, key] for key in keys if (rows_id, key) in rows}
            for rows_id, keys in needed.items()
        }

    def discard(self, rows: RowsId, key: str, state: bytes) -> None:
        if self._world.rows.get((rows, key)) == state:
            del self._world.rows[rows, key]

    def write(self, writes: Sequence[Write], what: str, epoch: int) -> None:
        for rows_id, states in writes:
            for key, state in states.items():
                self._world.effect()
                stored = self._world.rows.get((rows_id, key), b"")
                if state[:FENCE_BYTES] > stored[:FENCE_BYTES]:
                    self._world.rows[rows_id, key] = state
                elif state[:8] < stored[:8]:
                    raise Fenced(what, epoch)
                self._world.after()


class Outputs:
    """Messages, accepted by a reader as the join and the scorer accept them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._epochs: dict[PartitionId, int] = {}

    def open(
        self, source: PartitionId, epoch: int, models: Sequence[ModelDefinition], missed: Mapping[str, bytes]
    ) -> None:
        self._epochs[source] = epoch
        self._world.missed |= {(name, source): last for name, last in missed.items()}
        for model in models:
            self._reader(model.name, source).mark(epoch)

    def refuse_unknown(self, source: PartitionId, models: Sequence[ModelDefinition]) -> None:
        if any(self._reader(model.name, source).position > START.to_bytes() for model in models):
            raise CorruptState(f"{source} is not new")

    def send(self, vectors: MadeVectors, reached: OutputReached, former: str = "") -> None:
        for row, id in enumerate(vectors.ids):
            self._world.effect()
            position = Position(*vectors.positions[row].tolist()).to_bytes()
            if self._reader(vectors.model.name, vectors.source).take(self._epochs[vectors.source], [position]):
                watermark = self._world.watermarks.get((vectors.model.name, vectors.source), UNKNOWN)
                assert vectors.times[row] >= watermark
                values = msgspec.json.encode(vectors.assembled.numbers[row].tolist())
                self._world.vectors.setdefault(vectors.model.name, []).append((id, values))
            self._world.after()
        self.reached(vectors.model, vectors.source, reached)

    def reached(self, model: ModelDefinition, source: PartitionId, reached: OutputReached) -> None:
        if self._reader(model.name, source).mark(self._epochs[source]):
            self._world.told[model.name, source] = reached.release_watermark
            self._world.watermarks[model.name, source] = reached.watermark

    def flush(self) -> None:
        self._world.effect()
        self._world.after()

    def _reader(self, model: str, source: PartitionId) -> Accepted:
        return self._world.readers.setdefault((model, source), Accepted())


class Refused:
    def __init__(self, world: World) -> None:
        self._world = world
        self.pending: list[tuple[Position | None, str]] = []

    def refuse(
        self, stream: StreamDefinition, partition: int, reason: InvalidEvent, event: bytes, position: Position
    ) -> None:
        self.pending.append((position, reason.field))

    def flush(self) -> None:
        self._world.refused += self.pending
        self.pending = []


class Counts:
    def __init__(self, world: World) -> None:
        self._world = world

    def count(self, name: str, by: int = 1) -> None:
        self._world.counts[name] += by


def worker(
    world: World,
    loop: LoopDefinition,
    max_rows: int = 1_000,
    clock: Callable[[], int] = lambda: 0,
    durable: Callable[[], bool] = lambda: True,
) -> FoldWorker:
    return FoldWorker(
        Fold(loop, step_events=5),
        Rows(world),  # type: ignore[arg-type]
        Partitions(world),  # type: ignore[arg-type]
        Outputs(world),  # type: ignore[arg-type]
        dead_letters=Refused(world),  # type: ignore[arg-type]
        heartbeat=Counts(world),  # type: ignore[arg-type]
        max_rows=max_rows,
        clock=clock,
        durable=durable,
    )


def kept(row: bytes) -> bytes:
    """Return the parts of a row that do not depend on its writer: its position and its state."""
    return row[8:FENCE_BYTES] + row[HEADER_BYTES:]


def payload(event: Event) -> bytes:
    return msgspec.json.encode({"id": event.id, "at": event.at, "k": event.k, "x": event.x})


def batch(events: Sequence[tuple[int, Event]], end: int | None = None, published: int = ENDED) -> Batch:
    """Return events at their positions, and a promise at the position after the last one."""
    found = messages([place for place, _ in events], [payload(event) for _, event in events], published)
    if end is not None:
        found = found.followed_by(promise(events[-1][0] + 1 if events else 0, end))
    return found


def messages(places: Sequence[int], payloads: Sequence[bytes], published: int = ENDED) -> Batch:
    """Return messages at their positions."""
    size = len(places)
    return Batch([Position(place, 0, -1) for place in places], list(payloads), [{} for _ in places], [published] * size)


def promise(place: int, time: int = ENDED) -> Batch:
    """Promise that no event before a time follows; by default that the history ends."""
    note = {END: "1"} if time == ENDED else {MARK: str(time)}
    return Batch([Position(place, 0, -1)], [b""], [note], [0])


def feed(fold: FoldWorker, partition: PartitionId, events: Sequence[tuple[int, Event]], end: int | None = None) -> None:
    accept(fold, partition, batch(events, end))


def accept(fold: FoldWorker, partition: PartitionId, read: Batch) -> None:
    """Give the owner a batch, as read since its takeover."""
    fold.accept(partition, fold._ownership.partitions[partition].epoch, fold.decode(partition, read))
