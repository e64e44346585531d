"""The oracle's set of examples, and the orders that it allows."""

from __future__ import annotations

from tests.oracle.events import judge
from tests.oracle.examples import Examples, examples_of, wrong_order
from tests.oracle.record import LoggedExample
from tests.unit.oracle.loops import LOOP, MODEL, SECOND, START, message, outcome, payment


def examples(payments: list[dict[str, object]], outcomes: list[dict[str, object]]) -> Examples:
    streams = {
        "paid": [[message(place, own) for place, own in enumerate(payments)]],
        "outcome": [[message(place, own) for place, own in enumerate(outcomes)]],
    }
    return examples_of(LOOP, MODEL, judge(LOOP, streams))


def test_a_label_exactly_at_the_bound_counts() -> None:
    found = examples([payment("a", 0)], [outcome("o", "a", 60)])
    assert found.made == {("a", START, 1.0, START + 60 * SECOND)}


def test_a_label_1_us_beyond_the_bound_does_not_count() -> None:
    found = examples([payment("a", 0)], [outcome("o", "a", 60, extra=1)])
    assert (found.made, len(found.unmatched), len(found.open)) == (set(), 1, 1)


def test_a_label_counts_up_to_the_bound_before() -> None:
    at, beyond = outcome("o", "a", -60), outcome("o", "a", -60, extra=-1)
    assert (len(examples([payment("a", 0)], [at]).made), len(examples([payment("a", 0)], [beyond]).made)) == (1, 0)


def test_the_first_label_by_position_wins() -> None:
    found = examples([payment("a", 0)], [outcome("o", "a", 9, fraud=False), outcome("p", "a", 5)])
    assert (found.made, found.repeated_labels) == ({("a", START, 0.0, START + 9 * SECOND)}, 1)


def test_a_label_without_a_value_is_none() -> None:
    found = examples([payment("a", 0)], [outcome("o", "a", 5, fraud=None), outcome("p", "a", 6)])
    assert found.made == {("a", START, 1.0, START + 6 * SECOND)}


def test_a_question_that_does_not_count_has_no_example() -> None:
    found = examples([payment("b", 0), payment("a", -11)], [outcome("o", "a", 5)])
    assert (found.made, len(found.unmatched)) == (set(), 1)


def test_two_questions_of_one_id_have_a_label_each() -> None:
    # The id was forgotten: the horizon is an hour.
    payments = [payment("a", 0), payment("b", 3_601), payment("a", 4_000)]
    found = examples(payments, [outcome("o", "a", 5), outcome("p", "a", 4_001)])
    assert {own[1] for own in found.made} == {START, START + 4_000 * SECOND}


def logged(seq: int, name: str, time: int, label_time: int, released: bool = False) -> LoggedExample:
    return LoggedExample(seq, name, time, 1.0, label_time, {}, released)


def test_examples_stand_in_the_order_of_their_places() -> None:
    assert wrong_order([logged(0, "b", 1, 3), logged(1, "a", 2, 3), logged(2, "a", 4, 1)]) == []
    assert len(wrong_order([logged(0, "a", 2, 3), logged(1, "b", 1, 3)])) == 1


def test_a_released_example_may_stand_before_its_place() -> None:
    assert wrong_order([logged(0, "a", 2, 9, released=True), logged(1, "b", 1, 3)]) == []


def test_a_gap_in_the_numbers_is_wrong() -> None:
    assert wrong_order([logged(0, "a", 1, 1), logged(2, "b", 2, 2)]) == ["example b has number 2 instead of 1"]
