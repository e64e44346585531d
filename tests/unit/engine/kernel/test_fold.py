"""Fold and assemble: the vectors are the same for any batches, any interleaving, any partitions and any restarts."""

from __future__ import annotations

import math
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from headrace.definition import (
    Aggregate,
    Apply,
    Column,
    FeatureDefinition,
    Field,
    FieldType,
    StreamDefinition,
    Window,
)
from headrace.engine.events import EventColumns, StreamCodec
from headrace.engine.former import Answering, Former
from headrace.engine.kernel.expressions import Program
from headrace.engine.kernel.partition import PartitionId
from headrace.engine.kernel.preparation import entity_keys
from headrace.engine.marks import Mark
from tests.support.kernel_loop import LATENESS, SECOND, START, Event, Worker, run, steps, timeline
from tests.unit.engine.kernel.naive import naive_values


def test_vectors_that_are_out_count_no_reads_beyond_keep() -> None:
    asked, seen = PartitionId("a", 0), PartitionId("b", 0)
    worker = Worker(1)
    question = (0, Event("a", "q", START, "p", 1.0))
    worker.accept(asked, [question])
    worker.accept(seen, [(place, Event("b", f"{place}", START + place * SECOND, "p", 1.0)) for place in range(300)])
    worker.finish()
    assert worker.order == ["q"]
    # This happens if a view of the stream is new: it is folded again, beside rows that are far ahead.
    worker.progress[asked] = worker.progress[asked].restarted()
    worker.start()
    worker.accept(asked, [question])
    worker.finish()
    assert worker.fold.partitions[asked].progress.done == (0, 0, -1)


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
