"""The join: in any order of arrival, and in any batches, the examples match the definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.definition import Keep
from headrace.engine.kernel.join import (
    NOTHING,
    Decided,
    Index,
    Join,
    Logged,
    Outcome,
    Rule,
    Watermarks,
    Written,
    name_at,
    places,
    sort_key,
    weigh,
)
from headrace.watermark import IDLE, UNKNOWN
from tests.unit.engine.kernel.waiting import WaitingEntries

BOUND = 50
FAR = 10_000


class Half(NamedTuple):
    """A question or a label; its number is its vector, or its value."""

    id: str
    time: int
    number: int
    label: bool
    of: str = ""

    @property
    def entity(self) -> str:
        return self.of or self.id


halves = st.lists(st.tuples(st.text("abc", min_size=1, max_size=2), st.integers(0, 400), st.booleans()), max_size=40)


def expected(read: Sequence[Half]) -> set[tuple[str, int, int, int]]:
    """Return the examples by definition: (id, time of the question, its number, the number of its label)."""
    found = set()
    for id in {half.id for half in read}:
        questions: list[Half] = []
        for half in read:
            if (
                half.id == id
                and not half.label
                and all(abs(half.time - question.time) > BOUND for question in questions)
            ):
                questions.append(half)
        used: set[Half] = set()
        for question in sorted(questions, key=lambda half: half.time):
            near = [half for half in read if half.label and half.id == id and abs(half.time - question.time) <= BOUND]
            theirs = [half for half in near if half not in used]
            used.update(near)
            if theirs:
                found.add((id, question.time, question.number, theirs[0].number))
    return found


class Model:
    """A join over entries in memory, advanced as its worker does.

    Attributes
    ----------
    log
        The entries of the log: (place, asks, id, time).
    logged
        The examples: (id, time of the question, its number, the answer).
    """

    def __init__(self, rule: Rule | None = None) -> None:
        self.rule = rule or Rule(BOUND)
        self.waiting = WaitingEntries(self.rule)
        self.entries: list[Logged] = []
        self.expired = self.unmatched = 0

    @property
    def logged(self) -> list[tuple[str, int, int, int]]:
        return examples(self.entries)

    def take(self, *read: Half) -> list[bool]:
        join = Join(self.rule, self.waiting.load(half.entity for half in read))
        results = [
            join.label(half.entity, Outcome(half.time, float(half.number)))
            if half.label
            else join.question(half.entity, half.id, half.time, half.number.to_bytes(2, "big"))
            for half in read
        ]
        self.waiting.change(join.changes)
        return results

    def advance(
        self, marks: Watermarks, limit: int = 100, written: dict[tuple[str, int], Written] | None = None
    ) -> Decided:
        """Decide everything that is due, then log `limit` entries."""
        decided = Decided()
        due = {Index.OPEN: marks.labels, Index.LABELS: marks.questions, Index.CLOSED: marks.complete}
        while any((found := self.waiting.before(due, limit)).values()):
            names = [name_at(index, place) for index, listed in found.items() for place in listed]
            join = Join(self.rule, self.waiting.load(names))
            join.decide(names, marks, decided)
            self.waiting.change(join.changes)
        (ready,) = self.waiting.before({Index.PLACED: marks.release}, limit).values()
        join = Join(self.rule, self.waiting.load(name_at(Index.PLACED, place) for place in ready))
        join.log(ready, marks, len(self.entries), decided, written=written)
        self.waiting.change(join.changes)
        self.entries += decided.entries
        self.expired += decided.expired
        self.unmatched += decided.unmatched
        return decided


def examples(entries: Sequence[Logged]) -> list[tuple[str, int, int, int]]:
    answers = [(entry.question, entry.question.outcome) for entry in entries if not entry.asks]
    return [
        (question.id, question.time, int.from_bytes(question.vector or b"", "big"), int(outcome.value))
        for question, outcome in answers
        if outcome is not None
    ]


def marks(questions: int, labels: int, release: int | None = None) -> Watermarks:
    return Watermarks(questions, labels, min(questions, labels) if release is None else release)


def question(id: str, time: int, number: int = 0) -> Half:
    return Half(id, time, number, label=False)


def label(id: str, time: int, number: int = 1) -> Half:
    return Half(id, time, number, label=True)


@given(halves, st.booleans(), st.data())
def test_any_interleaving_gives_the_examples_defined(
    drawn: list[tuple[str, int, bool]], is_idle: bool, data: st.DataObject
) -> None:
    """Each source is in order of time, read in any turns and cuts; idleness at any moment changes no example."""
    every = [Half(id, time, number, is_label) for number, (id, time, is_label) in enumerate(drawn)]
    every.sort(key=lambda half: half.time)
    sources = {is_label: [half for half in every if half.label is is_label] for is_label in (False, True)}
    model = Model()
    while any(sources.values()):
        is_label = data.draw(st.sampled_from([is_label for is_label, source in sources.items() if source]))
        size = data.draw(st.integers(1, len(sources[is_label])))
        model.take(*[sources[is_label].pop(0) for _ in range(size)])
        if data.draw(st.booleans()):
            questions, labels = (min((half.time for half in source), default=FAR) for source in sources.values())
            release = IDLE if is_idle and data.draw(st.booleans()) else None
            model.advance(marks(questions, labels, release), data.draw(st.integers(1, 9)))
    while any(model.waiting.entries.values()):
        model.advance(marks(FAR, FAR), 3)
    assert set(model.logged) == expected(every)
    assert len(model.logged) == len(set(model.logged))
    assert not any(model.waiting.orders.values())
    assert_numbered(model.entries)
    if not is_idle:
        assert_ordered(model)


def assert_numbered(entries: Sequence[Logged]) -> None:
    """Assert that each entry has the next place; each question is asked once and closed once, after it."""
    assert [entry.seq for entry in entries] == list(range(len(entries)))
    seqs = [entry.question.seq for entry in entries if entry.asks]
    closed = [entry.question.seq for entry in entries if not entry.asks]
    assert sorted(closed) == seqs == sorted(seqs)
    assert all(entry.question.seq <= entry.seq for entry in entries if entry.question.seq is not None)


def assert_ordered(model: Model) -> None:
    """Assert that an answer known at t precedes the questions at t, except its own."""
    placed = []
    for entry in model.entries:
        question, known = entry.question, entry.question.known(model.rule.bound)
        after_its_question = entry.asks or known == question.time
        at = question.time if entry.asks else known
        placed.append((at, after_its_question, question.time, question.id, not entry.asks))
    assert placed == sorted(placed)


@pytest.mark.parametrize(("distance", "counts"), [(BOUND, True), (BOUND + 1, False)])
@pytest.mark.parametrize("first", ["question", "label"])
def test_a_label_counts_up_to_its_bound_and_not_beyond(distance: int, counts: bool, first: str) -> None:
    for at in (100 + distance, 100 - distance):
        model = Model()
        read = [question("a", 100), label("a", at)]
        for half in read if first == "question" else reversed(read):
            model.take(half)
        model.advance(marks(FAR, FAR))
        assert len(model.logged) == counts
        assert (model.expired, model.unmatched) == ((0, 0) if counts else (1, 1))


def test_a_silent_source_expires_nothing_however_long() -> None:
    model = Model()
    model.take(question("a", 100), question("b", FAR), label("c", 100), label("d", FAR))
    model.advance(marks(UNKNOWN, UNKNOWN, IDLE))
    model.advance(marks(FAR, 150, IDLE))  # questions have continued, labels only to the end of the bound
    model.advance(marks(150, FAR - 1, IDLE))
    assert (model.expired, model.unmatched) == (1, 1)
    model.take(label("b", FAR), question("d", FAR))
    model.advance(marks(FAR, FAR, IDLE))
    assert [example[0] for example in model.logged] == ["b", "d"]


def test_a_question_expires_by_the_labels_watermark() -> None:
    model = Model()
    model.take(question("a", 100))
    assert model.advance(marks(FAR, 150)).expired == 0
    assert model.advance(marks(100, 151)).expired == 1
    assert model.advance(marks(151, 151)).entries[-1].question.outcome is None
    model.advance(marks(151, 151))
    assert model.waiting.entries == {}


def test_a_label_expires_by_the_questions_watermark() -> None:
    model = Model()
    model.take(label("a", 100))
    assert model.advance(marks(150, FAR)).unmatched == 0
    assert model.advance(marks(151, 100)).unmatched == 1
    assert model.waiting.entries == {}


def test_the_first_question_and_the_first_label_count() -> None:
    model = Model()
    assert model.take(question("a", 10, 1), question("a", 11, 2), label("a", 12, 3), label("a", 13, 4)) == [
        True,
        False,
        True,
        False,
    ]
    model.advance(marks(20, 20))
    assert model.logged == [("a", 10, 1, 3)]
    assert model.take(question("a", 10, 5), label("a", 12, 6)) == [False, False]


def test_of_labels_that_came_first_the_first_one_read_counts() -> None:
    model = Model()
    model.take(label("a", 12, 3), label("a", 11, 4), label("a", 90, 5))
    model.take(question("a", 10, 1))
    model.advance(marks(30, 30))
    assert model.logged == [("a", 10, 1, 3)]


def test_an_example_waits_for_both_watermarks() -> None:
    model = Model()
    model.take(question("b", 10), label("b", 20))
    assert examples(model.advance(marks(20, 100)).entries) == []
    decided = model.advance(marks(21, 21))
    assert [example[0] for example in examples(decided.entries)] == ["b"]
    assert not decided.released


def test_rest_releases_a_complete_example_and_says_so() -> None:
    model = Model()
    model.take(question("b", 10), label("b", 20))
    decided = model.advance(marks(5, 20, IDLE))
    assert [example[0] for example in examples(decided.entries)] == ["b"]
    assert decided.released


def test_a_logged_question_is_forgotten_after_its_bound() -> None:
    model = Model()
    model.take(question("a", 10), label("a", 20))
    model.advance(marks(60, 60))
    assert model.take(label("a", 60)) == [False]
    model.advance(marks(61, 60))
    assert model.waiting.entries
    model.advance(marks(61, 61))
    assert model.waiting.entries == {}


def test_an_id_that_comes_again_after_its_bound_is_new() -> None:
    for order in ("qlql", "qqll", "llqq", "lqql"):
        model = Model()
        halves = {"q": [question("x", 100, 1), question("x", 200, 2)], "l": [label("x", 105, 3), label("x", 205, 4)]}
        for kind in order:
            model.take(halves[kind].pop(0))
        model.advance(marks(FAR, FAR))
        assert model.logged == [("x", 100, 1, 3), ("x", 200, 2, 4)], order


def test_weights_add_up_to_nothing_once_all_is_over() -> None:
    empty = weigh("a", NOTHING)
    join = Join(Rule(BOUND), {})
    join.question("a", "a", 10, b"vector")
    ((before, after),) = join.changes.values()
    waiting = weigh("a", after) - weigh("a", before)
    assert (waiting.questions, waiting.labels) == (1, 0)
    assert waiting.question_bytes > len(b"vector")
    assert waiting + (empty - waiting) == empty == (0, 0, 0, 0, 0)


def test_places_compare_as_times_do() -> None:
    times = [UNKNOWN, -1, 0, 1, 2**53 + 1, IDLE]
    assert sorted(times, key=sort_key) == times


def test_a_question_is_logged_at_its_time_and_its_answer_when_it_is_known() -> None:
    model = Model()
    model.take(question("a", 10), question("b", 20), label("a", 20, 3), question("c", 20), label("c", 20, 4))
    model.advance(marks(FAR, FAR))
    found = [(entry.question.id, entry.asks) for entry in model.entries]
    # An answer known at 20 precedes a question asked at 20; c learns its own answer only after it was asked.
    assert found == [("a", True), ("a", False), ("b", True), ("c", True), ("c", False), ("b", False)]


def test_what_comes_after_its_place_is_logged_on_arrival() -> None:
    model = Model()
    model.take(question("b", 20), label("b", 21))
    model.advance(marks(5, 5, IDLE))
    model.take(question("a", 10), label("a", 11))
    assert model.advance(marks(5, 5, IDLE)).released
    assert [(entry.question.id, entry.seq) for entry in model.entries] == [("b", 0), ("b", 1), ("a", 2), ("a", 3)]


def test_a_question_of_a_request_is_logged_where_it_is_read() -> None:
    model = Model(Rule(BOUND, on_arrival=True))
    model.take(question("b", 200))
    assert not model.advance(marks(0, 0)).released
    model.take(question("a", 100), label("b", 150))
    model.advance(marks(0, 0))
    assert [entry.question.id for entry in model.entries] == ["b", "a"]


@given(halves, st.sampled_from(["absent", "correct", "forecast"]), st.data())
def test_any_interleaving_gives_the_answers_of_its_rule(
    drawn: list[tuple[str, int, bool]], kind: str, data: st.DataObject
) -> None:
    rule = {
        "absent": Rule(BOUND, absent=0.0),
        "correct": Rule(BOUND, correct=True),
        "forecast": Rule(BOUND, after=20),
    }[kind]
    every = [
        Half(f"{id}{number}" if kind == "forecast" else id, time, number + 1, is_label, id)
        for number, (id, time, is_label) in enumerate(drawn)
    ]
    every.sort(key=lambda half: half.time)
    sources = {is_label: [half for half in every if half.label is is_label] for is_label in (False, True)}
    model = Model(rule)
    while any(sources.values()):
        is_label = data.draw(st.sampled_from([is_label for is_label, source in sources.items() if source]))
        model.take(sources[is_label].pop(0))
        if data.draw(st.booleans()):
            questions, labels = (min((half.time for half in source), default=FAR) for source in sources.values())
            model.advance(marks(questions, labels), data.draw(st.integers(1, 9)))
    while any(model.waiting.entries.values()):
        model.advance(marks(FAR, FAR), 3)
    assert {(example[0], example[1], example[3]) for example in model.logged} == by_rule(every, rule)
    assert len(model.logged) == len(set(model.logged))
    assert_numbered(model.entries)
    assert_ordered(model)


def by_rule(read: Sequence[Half], rule: Rule) -> set[tuple[str, int, int]]:
    """Return the examples by the words of the rule: (id, time, answer)."""
    found: set[tuple[str, int, int]] = set()
    questions: list[Half] = []
    for half in read:
        again = (
            question for question in questions if question.id == half.id and abs(question.time - half.time) <= BOUND
        )
        if not half.label and not any(again):
            questions.append(half)
    used: set[int] = set()
    for question in questions:
        labels = [half for half in read if half.label and half.entity == question.entity]
        if rule.after is not None:
            near = [half for half in labels if question.time + rule.after <= half.time <= question.time + BOUND]
            answer = min(near, key=lambda half: half.time).number if near else None
        else:
            near = [half for half in labels if abs(half.time - question.time) <= BOUND and half.number not in used]
            used.update(half.number for half in near)
            last = max(near, key=lambda half: (half.time, read.index(half))) if near else None
            answer = (last if rule.correct else near[0]).number if near and last else None
        if answer is None and rule.absent is not None:
            answer = int(rule.absent)
        if answer is not None:
            found.add((question.id, question.time, answer))
    return found


def test_an_absent_outcome_is_known_at_the_end_of_the_bound_by_the_watermark_of_labels() -> None:
    model = Model(Rule(BOUND, absent=0.0))
    model.take(question("a", 100, 7))
    model.advance(marks(FAR, 150))
    assert model.logged == []
    model.advance(marks(FAR, 151))
    assert model.logged == [("a", 100, 7, 0)]
    assert model.entries[-1].question.outcome == Outcome(150, 0.0)
    assert model.expired == 0


def test_a_corrected_label_counts_at_the_end_of_the_bound() -> None:
    model = Model(Rule(BOUND, correct=True))
    model.take(question("a", 100, 7), label("a", 120, 2), label("a", 110, 1), label("a", 150, 3), label("a", 151, 4))
    model.advance(marks(FAR, 150))
    assert model.logged == []
    model.advance(marks(FAR, 151))
    assert model.entries[-1].question.outcome == Outcome(150, 3.0)


def test_one_event_answers_every_forecast_that_waits_for_it() -> None:
    model = Model(Rule(BOUND, after=20))
    questions = [Half(f"q{time}", time, time, False, "p") for time in (100, 105, 110)]
    model.take(*questions, Half("x", 115, 1, True, "p"), Half("y", 127, 2, True, "p"), Half("z", 131, 3, True, "p"))
    model.advance(marks(FAR, 128))
    assert [(example[0], example[3]) for example in model.logged] == [("q100", 2), ("q105", 2)]
    model.advance(marks(FAR, 132))
    assert model.logged[-1] == ("q110", 110, 110, 3)


def test_a_share_of_a_class_is_kept_with_the_weight_of_all() -> None:
    rule = Rule(BOUND, keep=(Keep(0.0, 0.1),))
    weights = [rule.weight(f"id{number}", 0.0) for number in range(10_000)]
    assert set(weights) == {None, 10.0}
    assert 900 < weights.count(10.0) < 1_100
    assert rule.weight("id", 1.0) == 1.0


def test_what_the_log_holds_keeps_its_place() -> None:
    model = Model()
    model.take(question("a", 10), question("b", 11), label("a", 12), label("b", 30))
    written = {("a", 10): Written(4, 6, 12), ("b", 11): Written(5, None, 11)}
    model.advance(marks(FAR, 20), written=written)
    assert (model.entries, written) == ([], {})
    decided = model.advance(marks(FAR, FAR))
    assert [entry.question.seq for entry in decided.entries] == [5]


@given(st.text(), st.text(), st.integers(0, 5))
def test_a_place_names_its_entry(id: str, name: str, time: int) -> None:
    join = Join(Rule(BOUND), {})
    join.question(name, id, time, b"v")
    ((_, entry),) = join.changes.values()
    assert {name_at(index, place) for index, place in places(name, entry, Rule(BOUND))} == {name}
