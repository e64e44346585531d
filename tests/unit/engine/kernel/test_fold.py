"""Fold and assemble: the vectors are the same for any batches, any interleaving, any partitions and any restarts."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from headrace.definition import (
    Aggregate,
    AggregateDefinition,
    Apply,
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
from headrace.engine.events import EventColumns, StreamCodec
from headrace.engine.former import Answering, Former
from headrace.engine.kernel.expressions import Program
from headrace.engine.kernel.fold import Fold
from headrace.engine.kernel.partition import PartitionId, Progress, RowsId
from headrace.engine.kernel.preparation import entity_keys
from headrace.engine.marks import Mark
from tests.unit.engine.kernel.naive import naive_values

SECOND = 1_000_000
START = 1_000_000 * SECOND
LATENESS = 5 * SECOND
OPERATIONS = ("count", "sum", "mean", "std", "last")


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
        tuple(AggregateDefinition(operation, operation, "x") for operation in OPERATIONS),
        (Window("12s", 12 * SECOND, resolution), Window("1m", 60 * SECOND, 5 * resolution)),
        resolution, 2 * LATENESS + 60 * SECOND,
    )  # fmt: skip


def loop(partitions: int = 1, horizon: int = 60 * SECOND) -> LoopDefinition:
    views = (view("asked", "a"), view("seen", "b"), view("coarse", "b", 4 * SECOND))
    features = tuple(
        FeatureDefinition(f"{view.name}.{op}.{w.name}", FieldType.FLOAT, Aggregate(view.name, op, w.name, ("k",)))
        for view in views
        for w in view.windows
        for op in OPERATIONS
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


def test_vectors_that_are_out_count_no_reads_beyond_keep() -> None:
    asked, seen = PartitionId("a", 0), PartitionId("b", 0)
    worker = Worker(1)
    question = (0, Event("a", "q", START, "p", 1.0))
    worker.accept(asked, [question])
    worker.accept(seen, [(place, Event("b", f"{place}", START + place * SECOND, "p", 1.0)) for place in range(300)])
    worker.finish()
    assert worker.order == ["q"]
    # This happens if a view of the stream is new: it is folded again, beside rows that are far ahead.
    worker.progress[asked] = worker.progress[asked].anew()
    worker.start()
    worker.accept(asked, [question])
    worker.finish()
    assert worker.fold.partitions[asked].progress.done == (0, 0, -1)


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


@pytest.mark.parametrize("start", [START, -30 * SECOND, 60 - 3_000_000 * SECOND], ids=["after", "across", "before"])
@given(moves=steps)
@settings(max_examples=30)
def test_vectors_equal_the_definition_also_across_1970(start: int, moves: list[tuple[str, int, str, float]]) -> None:
    events = timeline(moves, start)
    worker = run(events, 1, None)
    assert worker.refused == 0
    for event in events:
        if event.stream != "a":
            continue
        expected: list[float] = []
        for view in worker.loop.views:
            name = view.stream
            past = [(e.at, {"x": e.x}) for e in events if e.stream == name and e.k == event.k]
            expected += naive_values(view, past, event.at)
        np.testing.assert_allclose(worker.vectors[event.id][0], [*expected, event.x], rtol=1e-9, atol=1e-6)


@given(steps, st.integers(1, 2), st.integers(0, 2**32))
@settings(max_examples=60)
def test_batches_interleaving_and_crashes_change_no_bit(
    moves: list[tuple[str, int, str, float]], partitions: int, seed: int
) -> None:
    events = timeline(moves)
    plain = run(events, partitions, None)
    disturbed = run(events, partitions, random.Random(seed))
    assert {id: msgspec.json.encode(values) for id, (values, _) in disturbed.vectors.items()} == {
        id: msgspec.json.encode(values) for id, (values, _) in plain.vectors.items()
    }
    assert disturbed.rows == plain.rows


def test_too_late_and_sent_before() -> None:
    worker = Worker(1)
    partition_id = PartitionId("a", 0)
    first = Event("a", "1", START + 20 * SECOND, "p", 1.0)
    late = Event("a", "2", START + 14 * SECOND, "p", 1.0)
    partition = worker.fold.partitions[partition_id]
    columns, _, _ = worker.codecs["a"].columns(
        [msgspec.json.encode({"id": e.id, "at": e.at, "k": e.k, "x": e.x}) for e in (first, late, first)]
    )
    refused = partition.accept(columns, [(0, 0, -1), (1, 0, -1), (2, 0, -1)], [0] * 3, 0)
    assert [place for place, _ in refused] == [1, 2]
    assert refused[0].reason is not None
    assert refused[0].reason.field == "at"
    assert refused[1].reason is None


def test_a_vector_waits_for_every_stream_that_it_reads() -> None:
    worker = Worker(1)
    worker.accept(PartitionId("a", 0), [(0, Event("a", "1", START, "p", 1.0))])
    worker.step()
    assert worker.vectors == {}
    worker.fold.partitions[PartitionId("b", 0)].mark(Mark(START + 9 * SECOND), (0, 0, -1), START)
    worker.accept(PartitionId("a", 0), [(1, Event("a", "2", START + 5 * SECOND, "p", 1.0))])
    worker.step()
    assert list(worker.vectors) == ["1"]


def test_a_vector_waits_for_the_finest_view_that_it_reads() -> None:
    worker = Worker(1)
    asked, seen = PartitionId("a", 0), PartitionId("b", 0)
    worker.accept(seen, [(0, Event("b", "b0", START + LATENESS, "p", 1.0))])
    worker.accept(asked, [(0, Event("a", "1", START + 3 * SECOND, "p", 1.0))])
    worker.accept(asked, [(1, Event("a", "2", START + 30 * SECOND, "p", 1.0))])
    worker.step()
    worker.accept(seen, [(1, Event("b", "b1", START + 2 * SECOND, "p", 1.0))])
    worker.finish()
    assert worker.refused == 0
    values = dict(
        zip([feature.name for feature in worker.loop.models[0].features], worker.vectors["1"][0], strict=True)
    )
    assert (values["seen.count.12s"], values["coarse.count.12s"]) == (1.0, 0.0)


def test_a_former_form_of_a_view_is_folded_beside_the_new_one_until_it_is_dropped() -> None:
    worker = Worker(1)
    new = worker.loop.view("seen")
    former = structs.replace(new, keep=2 * new.keep)
    alone, both = former.hash, former.as_former()
    assert (both.hash, both.stored, both.title) == (alone, "seen", "seen")
    worker.loop = structs.replace(worker.loop, views=(*worker.loop.views, both))
    worker.start()
    seen = PartitionId("b", 0)
    worker.accept(seen, [(place, Event("b", f"{place}", START + place * SECOND, "p", 1.0)) for place in range(9)])
    worker.finish()
    states = {rows.view: state for (rows, _), state in worker.rows.items()}
    assert set(states) == {"seen", "coarse", both.name}
    worker.fold.narrow(structs.replace(worker.loop, views=worker.loop.views[:-1]), {})
    worker.accept(seen, [(9, Event("b", "9", START + 9 * SECOND, "p", 1.0))])
    worker.finish()
    later = {rows.view: state for (rows, _), state in worker.rows.items()}
    assert later[both.name] == states[both.name]
    assert later["seen"] != states["seen"]


def test_a_vector_holds_that_of_a_former_definition_behind_its_own() -> None:
    worker, plain = Worker(1), Worker(1)
    (model,) = worker.loop.models
    short = structs.replace(worker.loop.view("seen"), windows=(Window("12s", 12 * SECOND, 2 * SECOND),))
    count = Aggregate("seen", "count", "12s", ("k",))
    former = structs.replace(model, features=(FeatureDefinition("n", FieldType.FLOAT, Apply("log1p", (count,))),))
    answering = Answering(worker.loop, {"m": Former(former, (short,))})
    assert answering.views == ("seen",)
    worker.loop, worker.wide = answering.folded, answering.wide
    worker.start()
    for one in (worker, plain):
        seen = [(place, Event("b", f"b{place}", START + place * SECOND, "p", 1.0)) for place in range(30)]
        one.accept(PartitionId("b", 0), seen)
        one.accept(PartitionId("a", 0), [(0, Event("a", "1", START + 21 * SECOND, "p", 1.0))])
        one.finish()
    (numbers, cut), (plain_numbers, plain_cut) = worker.vectors["1"], plain.vectors["1"]
    np.testing.assert_array_equal(numbers[:-1], plain_numbers)
    assert cut == plain_cut
    # The value is that of the former view, with its hops of two seconds.
    assert math.expm1(numbers[-1]) == pytest.approx(11.0)


def test_missing_values_are_missing_features() -> None:
    worker = Worker(1)
    worker.accept(PartitionId("a", 0), [(0, Event("a", "1", START, "p", 1.0))])
    worker.finish()
    values = dict(
        zip([feature.name for feature in worker.loop.models[0].features], worker.vectors["1"][0], strict=True)
    )
    assert values["asked.count.12s"] == 0.0
    assert math.isnan(values["asked.mean.12s"])
    assert values["x"] == 1.0


def test_a_backlog_of_one_stream_holds_the_others_back() -> None:
    """Otherwise its vectors would find rows that have moved on by more than they keep."""
    questions = [Event("a", f"a{index:03d}", START + 10 * index * SECOND, "p", 1.0) for index in range(40)]
    seen = [
        Event("b", f"b{index:03d}", START + 300 * index * SECOND + SECOND, "p", float(index)) for index in range(40)
    ]
    events = sorted([*questions, *seen], key=lambda event: event.at)
    one_by_one, at_once = Worker(1), Worker(1)
    for event in events:
        partition = PartitionId(event.stream, 0)
        one_by_one.accept(partition, [(int(event.id[1:]), event)])
        one_by_one.step()
    one_by_one.finish()
    for name, backlog in (("a", questions), ("b", seen)):
        at_once.accept(PartitionId(name, 0), list(enumerate(backlog)))
    at_once.finish()
    assert at_once.order == [event.id for event in questions]
    values = [
        [msgspec.json.encode(worker.vectors[event.id][0]) for event in questions] for worker in (at_once, one_by_one)
    ]
    assert values[0] == values[1]


def test_large_integers_are_entities_of_their_own() -> None:
    """A float64 would merge two of them; and the type that holds them must not change how they are written."""
    keyed = StreamDefinition("s", (Field("k", FieldType.INT, optional=True),), "k", "k", "k", lateness=0, horizon=0)
    column = StreamCodec(msgspec.structs.replace(keyed, time="k"))._to_columns
    small, large = ([type("Event", (), {"k": key})() for key in keys] for keys in ((7, 5), (7, 2**53, 2**53 + 1)))
    found = EventColumns.concat([column(small), column(large)])
    assert entity_keys([found.fields["k"]], 5) == ["7", "5", "7", str(2**53), str(2**53 + 1)]
    assert Program([Column("k")], [Column("k")]).matrix(found.fields, ("k",), 5)[:, 0].tolist()[:3] == [7.0, 5.0, 7.0]
