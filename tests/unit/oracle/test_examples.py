"""The oracle's set of examples, and the orders that it allows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from msgspec import structs

from headrace.definition import Column, FieldType, Keep, LabelDefinition, LoopDefinition, Task
from tests.oracle.events import judge
from tests.oracle.examples import Examples, examples_of, wrong_order
from tests.oracle.record import LoggedEntry
from tests.unit.oracle.loops import LOOP, MODEL, SECOND, START, message, outcome, payment


def examples(payments: list[dict[str, object]], outcomes: list[dict[str, object]]) -> Examples:
    streams = {
        "paid": [[message(place, payment) for place, payment in enumerate(payments)]],
        "outcome": [[message(place, outcome) for place, outcome in enumerate(outcomes)]],
    }
    return examples_of(LOOP, MODEL, judge(LOOP, streams))


def test_a_label_exactly_at_the_bound_counts() -> None:
    found = examples([payment("a", 0)], [outcome("o", "a", 60)])
    assert found.made == {("a", START, 1.0, START + 60 * SECOND, 1.0)}


def test_a_label_1_us_beyond_the_bound_does_not_count() -> None:
    found = examples([payment("a", 0)], [outcome("o", "a", 60, extra=1)])
    assert (found.made, len(found.unmatched), len(found.open)) == (set(), 1, 1)


def test_a_label_counts_up_to_the_bound_before() -> None:
    at, beyond = outcome("o", "a", -60), outcome("o", "a", -60, extra=-1)
    assert (len(examples([payment("a", 0)], [at]).made), len(examples([payment("a", 0)], [beyond]).made)) == (1, 0)


def test_the_first_label_by_position_wins() -> None:
    found = examples([payment("a", 0)], [outcome("o", "a", 9, fraud=False), outcome("p", "a", 5)])
    assert (found.made, found.repeated_labels) == ({("a", START, 0.0, START + 9 * SECOND, 1.0)}, 1)


def test_a_label_without_a_value_is_none() -> None:
    found = examples([payment("a", 0)], [outcome("o", "a", 5, fraud=None), outcome("p", "a", 6)])
    assert found.made == {("a", START, 1.0, START + 6 * SECOND, 1.0)}


def test_a_question_that_does_not_count_has_no_example() -> None:
    found = examples([payment("b", 0), payment("a", -11)], [outcome("o", "a", 5)])
    assert (found.made, len(found.unmatched)) == (set(), 1)


def test_two_questions_of_one_id_have_a_label_each() -> None:
    # The id was forgotten, because the horizon is an hour.
    payments = [payment("a", 0), payment("b", 3_601), payment("a", 4_000)]
    found = examples(payments, [outcome("o", "a", 5), outcome("p", "a", 4_001)])
    assert {example[1] for example in found.made} == {START, START + 4_000 * SECOND}


def answered(name: str, time: int, label_time: int, released: bool = False) -> list[LoggedEntry]:
    """Return a question and its answer, still without numbers."""
    question = LoggedEntry(0, "question", 0, name, time, 0.0, time, 1.0, {}, released)
    return [question, LoggedEntry(0, "answer", 0, name, time, 1.0, label_time, 1.0, {}, released)]


def numbered(*entries: LoggedEntry) -> list[LoggedEntry]:
    seqs = {(entry.id, entry.time): seq for seq, entry in enumerate(entries) if entry.kind == "question"}
    return [replace(entry, seq=seq, question=seqs[entry.id, entry.time]) for seq, entry in enumerate(entries)]


def test_entries_stand_in_the_order_of_their_places() -> None:
    (ask_a, answer_a), (ask_b, answer_b) = answered("a", 2, 3), answered("b", 1, 3)
    assert wrong_order(numbered(ask_b, ask_a, answer_b, answer_a)) == []
    assert len(wrong_order(numbered(ask_b, ask_a, answer_a, answer_b))) == 1
    (ask_c, answer_c) = answered("c", 3, 1)
    assert wrong_order(numbered(ask_b, ask_a, answer_b, answer_a, ask_c, answer_c)) == []
    assert len(wrong_order(numbered(ask_b, ask_a, ask_c, answer_b, answer_a, answer_c))) == 2


def test_a_released_entry_may_stand_before_its_place() -> None:
    (ask_a, answer_a), (ask_b, answer_b) = answered("a", 2, 9, released=True), answered("b", 1, 3)
    assert wrong_order(numbered(ask_a, answer_a, ask_b, answer_b)) == []


def test_a_gap_in_the_numbers_is_wrong() -> None:
    question, answer = numbered(*answered("a", 1, 2))
    assert wrong_order([question, replace(answer, seq=2)]) == ["answer a has number 2 instead of 1"]


def test_an_answer_before_its_question_is_wrong() -> None:
    question, answer = answered("a", 1, 1)
    assert any("not open" in problem for problem in wrong_order(numbered(answer, question)))


def declared(**label: Any) -> LoopDefinition:
    return structs.replace(LOOP, labels=(structs.replace(LOOP.labels[0], **label),))


def test_an_absent_outcome_counts_once_the_labels_have_passed_the_bound() -> None:
    streams = {"paid": [[message(0, payment("a", 0))]], "outcome": [[message(0, outcome("o", "x", 71))]]}
    loop = declared(absent=0.0)
    early = {**streams, "outcome": [[message(0, outcome("o", "x", 59))]]}
    assert examples_of(loop, MODEL, judge(loop, streams)).made == {("a", START, 0.0, START + 60 * SECOND, 1.0)}
    assert examples_of(loop, MODEL, judge(loop, early)).made == set()


def test_the_newest_label_counts_where_labels_are_corrected() -> None:
    outcomes = [outcome("o", "a", 9, fraud=False), outcome("p", "a", 5), outcome("q", "x", 71)]
    loop = declared(correct=True)
    streams = {
        "paid": [[message(0, payment("a", 0))]],
        "outcome": [[message(i, outcome) for i, outcome in enumerate(outcomes)]],
    }
    assert examples_of(loop, MODEL, judge(loop, streams)).made == {("a", START, 0.0, START + 60 * SECOND, 1.0)}


def test_only_a_share_of_a_class_makes_examples() -> None:
    loop = declared(keep=(Keep(1.0, 0.5),))
    names = [f"p{number}" for number in range(100)]
    payments = [message(place, payment(name, place)) for place, name in enumerate(names)]
    outcomes = [message(place, outcome(f"o{name}", name, place + 1)) for place, name in enumerate(names)]
    found = examples_of(loop, MODEL, judge(loop, {"paid": [payments], "outcome": [outcomes]}))
    assert (len(found.made) + found.dropped, {example[4] for example in found.made}) == (100, {2.0})
    assert 30 < found.dropped < 70


def test_a_forecast_is_told_by_the_first_event_that_is_late_enough() -> None:
    label = LabelDefinition(
        "l", "paid", "paid", "card", Column("amount"), FieldType.FLOAT, 60 * SECOND, after=20 * SECOND
    )
    loop = structs.replace(LOOP, labels=(label,))
    model = structs.replace(MODEL, label="l", task=Task.REGRESSION)
    rows = [("a", 0, 1.0), ("b", 10, 2.0), ("c", 25, 3.0), ("d", 20, 4.0), ("e", 120, 5.0)]
    log = [message(place, payment(name, at, card="c", amount=amount)) for place, (name, at, amount) in enumerate(rows)]
    found = examples_of(loop, model, judge(loop, {"paid": [log], "outcome": [[]]}))
    assert {example[:4] for example in found.made} == {("a", START, 4.0, START + 20 * SECOND)}
