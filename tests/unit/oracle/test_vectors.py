"""The oracle's check of vectors: one for each question, cuts, values."""

from __future__ import annotations

from msgspec.structs import replace

from headrace.definition import AggregateDefinition, Apply, Column, Literal
from tests.oracle.events import judge
from tests.oracle.expressions import evaluate
from tests.oracle.record import NOWHERE, LoggedVector, Message
from tests.oracle.vectors import VectorCheck
from tests.oracle.windows import aggregate, rows_of
from tests.unit.oracle.loops import LOOP, MODEL, OF_CARD, SECOND, START, message, payment

#: Three payments of one card, a second apart.
PAYMENTS = [
    message(place, payment(name, place, card="c", amount=amount), at=START)
    for place, (name, amount) in enumerate({"a": 0.1, "b": 0.2, "c": 0.4}.items())
]


def vector(place: int, cut: int, count: float, total: float, after: int = 1) -> LoggedVector:
    """Return a vector that was published `after` seconds after all payments."""
    at = (1, cut, -1) if cut >= 0 else NOWHERE
    message = PAYMENTS[place]
    values = {"count": count, "sum": total, "amount": [0.1, 0.2, 0.4][place]}
    published = START // 1_000 + after * 1_000
    return LoggedVector("abc"[place], START + place * SECOND, 0, message.position, (at,), values, published)


def wrong(vector: LoggedVector, messages: list[Message] = PAYMENTS) -> list[str]:
    streams = {"paid": [messages]}
    return VectorCheck(LOOP, MODEL, judge(LOOP, streams), streams).wrong(vector)


def test_the_values_of_the_cut_are_right() -> None:
    assert wrong(vector(0, -1, 0.0, 0.0)) == []
    assert wrong(vector(2, 2, 2.0, 0.1 + 0.2)) == []


def test_a_sum_may_differ_in_its_last_digits() -> None:
    assert wrong(vector(2, 1, 2.0, 0.3)) == []
    assert wrong(vector(2, 1, 2.0, 0.3 + 1e-6)) != []


def test_a_count_must_be_equal() -> None:
    assert wrong(vector(2, 1, 2.0 + 1e-12, 0.3)) != []


def test_a_cut_without_a_published_event_is_wrong() -> None:
    (only,) = wrong(vector(2, 0, 1.0, 0.1, after=60))
    assert "lacks the event" in only


def test_a_cut_may_lack_what_came_after_a_silence() -> None:
    first, second, third = PAYMENTS
    late = second._replace(published_ms=START // 1_000 + 5_000)
    assert wrong(vector(2, 0, 1.0, 0.1, after=6), [first, late, third]) == []
    # The partition had a message half a second before the vector was made.
    spoke = message(0, at=START + 2_500_000, mark="0")._replace(position=(0, 9, -1))
    wake = [message._replace(published_ms=START // 1_000 + 2_000) for message in (first, third)]
    found = wrong(vector(2, 0, 1.0, 0.1, after=3), [spoke, wake[0], late, wake[1]])
    assert found == []  # within the time that a message may take


def test_a_cut_that_did_not_wait_for_idle_is_wrong() -> None:
    messages = [
        message(0, payment("a", 0, card="c", amount=0.1), at=START),
        message(1, payment("c", 9, card="c", amount=0.4), at=START),
        message(2, payment("b", 8, card="c", amount=0.2), at=START + SECOND),
    ]
    vector = LoggedVector("c", START + 9 * SECOND, 0, (1, 1, -1), ((1, 1, -1),), {}, START // 1_000 + 100)
    vector = LoggedVector(**{**vars(vector), "values": {"count": 1.0, "sum": 0.1, "amount": 0.4}})
    streams = {"paid": [messages]}
    loop = replace(LOOP, idle=60 * SECOND)
    check = VectorCheck(loop, MODEL, judge(loop, streams), streams)
    assert check.wrong(vector) == []  # the last three seconds are not certain
    earlier = [messages[0]._replace(published_ms=START // 1_000 - 9_000), *messages[1:]]
    streams = {"paid": [earlier]}
    (only,) = VectorCheck(loop, MODEL, judge(loop, streams), streams).wrong(vector)
    assert "was not idle" in only


def test_a_partition_stays_idle_until_an_event_counts() -> None:
    loop = replace(LOOP, idle=5 * SECOND)
    values = {"count": 1.0, "sum": 0.1, "amount": 0.4}
    vector = LoggedVector("c", START + 9 * SECOND, 0, (1, 2, -1), ((1, 2, -1),), values, START // 1_000 + 100)
    for meanwhile, count in (("a", 0), ("d", 1)):  # sent again, and a new one that is later than the vector
        messages = [
            message(0, payment("a", 0, card="c", amount=0.1), at=START - 9 * SECOND),
            message(1, payment(meanwhile, 9, card="d"), at=START - 4 * SECOND),
            message(2, payment("c", 9, card="c", amount=0.4), at=START),
            message(3, payment("b", 8, card="c", amount=0.2), at=START + SECOND),
        ]
        streams = {"paid": [messages]}
        found = VectorCheck(loop, MODEL, judge(loop, streams), streams).wrong(vector)
        assert sum("was not idle" in problem for problem in found) == len(found) == count


def test_an_end_releases_as_soon_as_it_may_have_been_delivered() -> None:
    loop = replace(LOOP, idle=60 * SECOND)
    values = {"count": 1.0, "sum": 0.1, "amount": 0.4}
    vector = LoggedVector("c", START + 9 * SECOND, 0, (1, 1, -1), ((1, 1, -1),), values, START // 1_000 + 100)
    for end, count in ((message(2, at=START, end="1"), 0), (message(2, at=START + SECOND, end="1"), 1)):
        messages = [
            message(0, payment("a", 0, card="c", amount=0.1), at=START - 9 * SECOND),
            message(1, payment("c", 9, card="c", amount=0.4), at=START),
            end,
            message(3, payment("b", 8, card="c", amount=0.2), at=START + 2 * SECOND),
        ]
        streams = {"paid": [messages]}
        found = VectorCheck(loop, MODEL, judge(loop, streams), streams).wrong(vector)
        assert sum("was not idle" in problem for problem in found) == len(found) == count


def test_each_question_has_one_vector() -> None:
    streams = {"paid": [PAYMENTS]}
    check = VectorCheck(LOOP, MODEL, judge(LOOP, streams), streams)
    every = [vector(0, -1, 0.0, 0.0), vector(1, 0, 1.0, 0.1), vector(2, 1, 2.0, 0.3)]
    assert check.missing(every) == []
    assert "1 of 3 questions have no vector" in check.missing(every[:2])[0]
    assert "2 vectors" in check.missing([*every, every[0]])[0]


def test_windows_end_at_the_resolution_and_begin_at_a_hop() -> None:
    judged = judge(LOOP, {"paid": [PAYMENTS]})
    entries = rows_of(OF_CARD, judged["paid"])["c",].between(0)
    count = MODEL.features[0].value
    minute = 60 * SECOND
    at = [START, START + 1_999_999, START + 2_000_000, START + 60 * minute - 1, START + 60 * minute]
    assert [aggregate(OF_CARD, count, entries, time) for time in at] == [0.0, 1.0, 2.0, 3.0, 0.0]


def test_last_is_the_newest_by_time_then_position() -> None:
    view = replace(OF_CARD, aggregates=(AggregateDefinition("last", "last", "amount"),))
    messages = [message(0, payment("a", 5, card="c", amount=1)), message(1, payment("b", 5, card="c", amount=2))]
    messages.append(message(2, payment("d", 4, card="c", amount=3)))
    entries = rows_of(view, judge(LOOP, {"paid": [messages]})["paid"])["c",].between(0)
    read = replace(MODEL.features[0].value, aggregate="last")
    assert aggregate(view, read, entries, START + 60 * SECOND) == 2.0


def test_what_is_missing_stays_missing() -> None:
    missing = Column("x")
    assert evaluate(Apply("add", (missing, Literal(1.0))), {"x": None}) is None
    assert evaluate(Apply("fill", (missing, Literal(2))), {"x": None}) == 2.0
    assert evaluate(Apply("is_missing", (missing,)), {"x": None}) == 1.0
    assert evaluate(Apply("div", (Literal(1.0), Literal(0.0))), {}) is None
    assert evaluate(Apply("bins", (Literal(10),), (5, 10, 20)), {}) == 2.0
    assert evaluate(Apply("hour", (Column("at"),)), {"at": START}) == 23.0
    assert evaluate(Apply("weekday", (Column("at"),)), {"at": START}) == 1.0
