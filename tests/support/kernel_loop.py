"""A loop, its events and a worker that folds them in memory."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec
from hypothesis import strategies as st

from headrace.definition import (
    Aggregate,
    AggregateDefinition,
    Column,
    FeatureDefinition,
    Field,
    FieldType,
    LoopDefinition,
    ModelDefinition,
    StreamDefinition,
    Task,
    ViewDefinition,
    Window,
)
from headrace.engine.events import StreamCodec
from headrace.engine.kernel.fold import Fold
from headrace.engine.kernel.partition import PartitionId, Progress, RowsId
from headrace.engine.kernel.tiles import AGGREGATES

SECOND = 1_000_000


START = 1_000_000 * SECOND


LATENESS = 5 * SECOND


def stream(name: str, partitions: int, horizon: int = 60 * SECOND) -> StreamDefinition:
    fields = (
        Field("id", FieldType.STRING),
        Field("at", FieldType.TIME),
        Field("k", FieldType.STRING),
        Field("x", FieldType.FLOAT),
        Field("known", FieldType.TIME, optional=True),
    )
    return StreamDefinition(name, fields, "k", "at", "id", LATENESS, horizon, partitions, time_format="us")


def view(name: str, of: str, resolution: int = SECOND) -> ViewDefinition:
    return ViewDefinition(
        name, of, ("k",), None, (),
        tuple(AggregateDefinition(operation, operation, "x") for operation in AGGREGATES),
        (Window("12s", 12 * SECOND, resolution), Window("1m", 60 * SECOND, 5 * resolution)),
        resolution, 2 * LATENESS + 60 * SECOND,
    )  # fmt: skip


def loop(partitions: int = 1, horizon: int = 60 * SECOND) -> LoopDefinition:
    views = (view("asked", "a"), view("seen", "b"), view("coarse", "b", 4 * SECOND))
    features = tuple(
        FeatureDefinition(f"{view.name}.{op}.{w.name}", FieldType.FLOAT, Aggregate(view.name, op, w.name, ("k",)))
        for view in views
        for w in view.windows
        for op in AGGREGATES
    )
    model = ModelDefinition(
        "m", "a", "label", Task.BINARY, (*features, FeatureDefinition("x", FieldType.FLOAT, Column("x"))), ""
    )
    streams = stream("a", partitions, horizon), stream("b", partitions, horizon)
    return LoopDefinition("l", streams, views, (), (model,))


@dataclass(frozen=True)
class Event:
    stream: str
    id: str
    at: int
    k: str
    x: float


@dataclass
class Worker:
    """A fold, fed by hand, with its store: rows by key, progress by partition, vectors by id."""

    partitions: int
    rows: dict[tuple[RowsId, str], bytes] = field(default_factory=dict)
    progress: dict[PartitionId, Progress] = field(default_factory=dict)
    vectors: dict[str, tuple[list[float], list[list[int]]]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    wide: dict[str, ModelDefinition] = field(default_factory=dict)
    refused: int = 0

    def __post_init__(self) -> None:
        self.loop = loop(self.partitions)
        self.codecs = {stream.name: StreamCodec(stream) for stream in self.loop.streams}
        self.start()

    def start(self) -> None:
        """Start a new process: memory is gone, what was stored is there."""
        self.fold = Fold(self.loop, step_events=7, wide=self.wide)
        for name in ("a", "b"):
            for partition in range(self.partitions):
                partition_id = PartitionId(name, partition)
                self.fold.own(partition_id, replace(self.progress.get(partition_id, Progress())), {})

    def accept(self, partition: PartitionId, events: Sequence[tuple[int, Event]]) -> None:
        payloads = [
            msgspec.json.encode({"id": event.id, "at": event.at, "k": event.k, "x": event.x}) for _, event in events
        ]
        columns, _, _ = self.codecs[partition.stream].columns(payloads)
        positions = [(place, 0, -1) for place, _ in events]
        self.refused += len(self.fold.partitions[partition].accept(columns, positions, [0] * len(events), 0))

    def step(self, save: bool = True) -> None:
        while not (plan := self.fold.plan()).empty:
            for rows, keys in plan.needed.items():
                for key in keys:
                    if (rows, key) in self.rows:
                        self.fold.rows[rows].add(key, self.rows[rows, key])
            step = self.fold.execute(plan)
            for vectors in step.vectors:
                for row, id in enumerate(vectors.ids):
                    values = (vectors.assembled.numbers[row].tolist(), vectors.assembled.cuts[row].tolist())
                    if id not in self.vectors:
                        self.vectors[id] = values
                        self.order.append(id)
                assert vectors.assembled.behind == 0
            for changed in step.changed:
                held = self.fold.rows[changed.rows]
                for slot, state in zip(changed.slots, held.dump(changed.slots, 1), strict=True):
                    self.rows[changed.rows, held.key(slot)] = state
            if save:
                self.progress = {name: replace(partition.progress) for name, partition in self.fold.partitions.items()}

    def finish(self) -> None:
        for partition in self.fold.partitions.values():
            partition.end(partition.last)
        self.step()


def partition_of(key: str, partitions: int) -> int:
    return ord(key[0]) % partitions


def logs(events: Sequence[Event], partitions: int) -> dict[PartitionId, list[tuple[int, Event]]]:
    """Return each partition's events with their positions."""
    found: dict[PartitionId, list[tuple[int, Event]]] = {
        PartitionId(name, index): [] for name in ("a", "b") for index in range(partitions)
    }
    for event in events:
        log = found[PartitionId(event.stream, partition_of(event.k, partitions))]
        log.append((len(log), event))
    return found


steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(-4_900_000, 9 * SECOND),
        st.sampled_from(["p", "q", "r"]),
        st.floats(-1e3, 1e3),
    ),
    min_size=1,
    max_size=60,
)


def timeline(moves: list[tuple[str, int, str, float]], start: int = START) -> list[Event]:
    now, events = start, []
    for index, (name, move, key, x) in enumerate(moves):
        events.append(Event(name, f"{index:03d}", now + min(move, 0), key, x))
        now += max(move, 0)
    return events


def run(events: Sequence[Event], partitions: int, chance: random.Random | None) -> Worker:
    """Feed the partitions: whole, or in random batches with crashes."""
    worker = Worker(partitions)
    remaining = logs(events, partitions)
    by_partition = logs(events, partitions)
    while any(remaining.values()):
        ready = [partition for partition, log in remaining.items() if log]
        partition = chance.choice(ready) if chance else ready[0]
        size = chance.randint(1, 9) if chance else len(remaining[partition])
        batch, remaining[partition] = remaining[partition][:size], remaining[partition][size:]
        worker.accept(partition, batch)
        if chance is None or chance.random() < 0.5:
            worker.step(save=chance is None or chance.random() < 0.5)
        if chance and chance.random() < 0.15:
            # A crash: what was not saved is delivered again.
            worker.start()
            remaining = {
                name: [item for item in log if (item[0], 0, -1) > worker.progress.get(name, Progress()).done]
                for name, log in by_partition.items()
            }
    worker.finish()
    return worker
