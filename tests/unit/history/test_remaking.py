"""Examples made again from the events equal those that were served, and those of the oracle."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from headrace.definition import LabelDefinition, LoopDefinition
from headrace.engine.kernel.partition import PartitionId
from headrace.errors import InvalidRequest
from headrace.history.remake import Remade, remake
from headrace.history.streams import StreamHistory
from headrace.wire.tables import Kind, LogEntries, decode_log, encode_log
from tests.oracle.events import judge
from tests.oracle.examples import examples_of, wrong_order
from tests.oracle.record import LoggedEntry, Message, Streams
from tests.support.kept_events import FIRST, LABELS, events, labelled
from tests.unit.history.served import TOPICS, Served


def remade(served: Served, loop: LoopDefinition, **options: Any) -> list[LogEntries]:
    return list(whole(served, loop, **options).entries)


def whole(served: Served, loop: LoopDefinition, **options: Any) -> Remade:
    return remake(loop, loop.models[0], StreamHistory(served.logs, TOPICS, loop), **options)


def kept(served: Served) -> Streams:
    return {
        name: [
            [Message(message.position, message.payload, {}, 0) for message in part]
            for part in served.logs.topics[TOPICS.stream(name)]
        ]
        for name in ("a", "b")
    }


def answers(entries: Sequence[LogEntries]) -> set[tuple[str, int, float | str, int, float]]:
    found = set()
    for part in entries:
        answers = part.answers
        columns = answers.times.tolist(), list(answers.labels), answers.label_times.tolist(), answers.weights.tolist()
        found |= set(zip(answers.ids, *columns, strict=True))
    return found


@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("partitions", [1, 3])
def test_the_answers_are_those_of_the_oracle(label: LabelDefinition, partitions: int) -> None:
    served = Served(events(partitions), partitions)
    loop = labelled(served, label)
    found = remade(served, loop)
    expected = examples_of(loop, loop.models[0], judge(loop, kept(served)))
    assert len(expected.made) > 20
    assert {(id, at, value, max(at, known), weight) for id, at, value, known, weight in answers(found)} == {
        (id, at, value, max(at, known), weight) for id, at, value, known, weight in expected.made
    }


@pytest.mark.parametrize("span", [10_000, 1, 30])
@pytest.mark.parametrize("partitions", [1, 3])
def test_the_vectors_are_those_that_were_served(span: int, partitions: int) -> None:
    served = Served(events(5), partitions)
    loop = labelled(served, LABELS["absent"])
    vectors = {vector.ids[0]: vector.numbers[0] for source in served.served() for vector in source}
    found = remade(served, loop, span=span)
    assert sum(map(len, found)) > 100
    for entries in found:
        for id, numbers in zip(entries.ids, entries.numbers, strict=True):
            np.testing.assert_array_equal(numbers, vectors[id])


@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS)
def test_they_are_in_the_order_of_a_log(label: LabelDefinition) -> None:
    served = Served(events(7), 2)
    loop = labelled(served, label)
    (entries,) = remade(served, loop, first=100)
    names = {Kind.QUESTION: "question", Kind.ANSWER: "answer", Kind.UNANSWERED: "unanswered"}
    assert entries.seqs.tolist() == list(range(100, 100 + len(entries)))
    logged = [
        LoggedEntry(seq - 100, names[Kind(kind)], question - 100, id, at, 0.0, known, 1.0, {}, False)
        for seq, kind, question, id, at, known in zip(
            entries.seqs.tolist(),
            entries.kinds.tolist(),
            entries.questions.tolist(),
            entries.ids,
            entries.times.tolist(),
            entries.label_times.tolist(),
            strict=True,
        )
    ]
    assert wrong_order(logged) == []


def test_they_are_marked_as_made() -> None:
    served = Served(events(1))
    loop = labelled(served, FIRST)
    (entries,) = remade(served, loop)
    again = decode_log(loop.models[0], encode_log(loop.models[0], entries))
    assert again.made is not None
    assert again.made.all()
    assert again.answers.made is not None
    assert len(again.answers.made) == len(again.answers)


@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("partitions", [1, 3])
def test_spans_make_no_difference(label: LabelDefinition, partitions: int) -> None:
    served = Served(events(11), partitions)
    loop = labelled(served, label)
    at_once, in_spans = whole(served, loop), whole(served, loop, span=20)
    assert columns(in_spans) == columns(at_once)
    assert [str(question) for question in in_spans.open] == [str(question) for question in at_once.open]


def columns(found: Remade) -> list[tuple[Any, ...]]:
    return [
        entry
        for part in found.entries
        for entry in zip(
            part.seqs.tolist(),
            part.kinds.tolist(),
            part.questions.tolist(),
            part.ids,
            part.times.tolist(),
            part.label_times.tolist(),
            map(str, part.labels),
            part.weights.tolist(),
            map(np.ndarray.tobytes, part.numbers),
            strict=True,
        )
    ]


def test_memory_does_not_grow_with_what_is_kept() -> None:
    def most(count: int) -> int:
        served = Served(events(2, count), 2)
        loop = labelled(served, LABELS["absent"])
        tracemalloc.start()
        try:
            for _ in whole(served, loop, span=100).entries:
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    most(300)  # the memory of imports and compilation
    assert most(4_000) < most(1_000) + 500_000


@pytest.mark.parametrize("label", LABELS.values(), ids=LABELS)
def test_what_is_not_decided_stays_open_with_its_vector(label: LabelDefinition) -> None:
    served = Served(events(3), 2)
    loop = labelled(served, label)
    found = whole(served, loop)
    vectors = {vector.ids[0]: vector.numbers[0] for source in served.served() for vector in source}
    ids = {id for entries in found.entries for id in entries.ids}
    assert len(found.open) > 5
    assert ids.isdisjoint(question.id for question in found.open)
    assert ids | {question.id for question in found.open} == set(vectors)
    for question in found.open:
        assert question.name in ("p", "q", "r") if label.after is not None else question.name == question.id
        np.testing.assert_array_equal(question.numbers, vectors[question.id])


def test_questions_behind_a_position_are_left_out() -> None:
    served = Served(events(1), 2)
    loop = labelled(served, FIRST)
    log = served.logs.topics[TOPICS.stream("a")][0]
    until = {PartitionId("a", 0): log[30].position}
    found = whole(served, loop, until=until)
    ids = {id for entries in found.entries for id in entries.ids} | {question.id for question in found.open}
    assert ids == {json.loads(message.payload)["id"] for message in log[:31]}


def test_the_questions_of_requests_are_refused() -> None:
    served = Served(events(1))
    loop = labelled(served, FIRST)
    model = structs.replace(loop.models[0], vectors="requests")
    with pytest.raises(InvalidRequest, match="asked by requests"):
        remake(loop, model, StreamHistory(served.logs, TOPICS, loop))
