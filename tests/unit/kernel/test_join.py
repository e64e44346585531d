"""The join: whatever comes first, in whatever batches, the examples are those of the definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.frontier import RESTING, UNKNOWN
from headrace.kernel.join import NOTHING, Decided, Index, Join, Outcome, Watermarks, id_at, sort_key, weight
from tests.unit.kernel.waiting import WaitingEntries

BOUND = 50
FAR = 10_000


class Half(NamedTuple):
    """A question or a label; its number is its vector, or its value."""

    id: str
    time: int
    number: int
    label: bool


halves = st.lists(st.tuples(st.text("abc", min_size=1, max_size=2), st.integers(0, 400), st.booleans()), max_size=40)


def expected(read: Sequence[Half]) -> set[tuple[str, int, int, int]]:
    """Examples by definition: (id, time of the question, its number, the number of its label)."""
    found = set()
    for id in {half.id for half in read}:
        questions: list[Half] = []
        for half in read:
            if half.id == id and not half.label and all(abs(half.time - own.time) > BOUND for own in questions):
                questions.append(half)
        taken: set[Half] = set()
        for question in sorted(questions, key=lambda own: own.time):
            near = [own for own in read if own.label and own.id == id and abs(own.time - question.time) <= BOUND]
            theirs = [own for own in near if own not in taken]
            taken.update(near)
            if theirs:
                found.add((id, question.time, question.number, theirs[0].number))
    return found


class Model:
    """A join over entries in memory, advanced as its worker does."""

    def __init__(self) -> None:
        self.waiting = WaitingEntries(BOUND)
        self.logged: list[tuple[str, int, int, int]] = []
        self.released: list[bool] = []
        self.expired = self.unmatched = 0

    def take(self, *read: Half) -> list[bool]:
        join = Join(BOUND, self.waiting.load(half.id for half in read))
        taken = [
            join.label(half.id, Outcome(half.time, float(half.number)))
            if half.label
            else join.question(half.id, half.time, half.number.to_bytes(2, "big"))
            for half in read
        ]
        self.waiting.change(join.changes)
        return taken

    def advance(self, marks: Watermarks, limit: int = 100) -> Decided:
        due = {
            Index.READY: marks.release,
            Index.OPEN: marks.labels,
            Index.LABELS: marks.questions,
            Index.LOGGED: marks.complete,
        }
        found = self.waiting.before(due, limit)
        ids = {index: [id_at(index, place) for place in listed] for index, listed in found.items()}
        join = Join(BOUND, self.waiting.load(id for listed in ids.values() for id in listed))
        decided = join.log(found[Index.READY], marks)
        join.expire([*ids[Index.OPEN], *ids[Index.LABELS], *ids[Index.LOGGED]], marks, decided)
        self.waiting.change(join.changes)
        for own in decided.examples:
            self.logged.append((own.id, own.time, int.from_bytes(own.vector, "big"), int(own.outcome.value)))
        self.expired += decided.expired
        self.unmatched += decided.unmatched
        return decided


def marks(questions: int, labels: int, release: int | None = None) -> Watermarks:
    return Watermarks(questions, labels, min(questions, labels) if release is None else release)


def question(id: str, time: int, number: int = 0) -> Half:
    return Half(id, time, number, label=False)


def label(id: str, time: int, number: int = 1) -> Half:
    return Half(id, time, number, label=True)


@given(halves, st.booleans(), st.data())
def test_any_interleaving_gives_the_examples_defined(
    drawn: list[tuple[str, int, bool]], rests: bool, data: st.DataObject
) -> None:
    """Each source in order of time, read in any turns and cuts; resting at any moment changes no example."""
    every = [Half(id, time, number, is_label) for number, (id, time, is_label) in enumerate(drawn)]
    every.sort(key=lambda half: half.time)
    sources = {is_label: [half for half in every if half.label is is_label] for is_label in (False, True)}
    model = Model()
    while any(sources.values()):
        is_label = data.draw(st.sampled_from([own for own, source in sources.items() if source]))
        size = data.draw(st.integers(1, len(sources[is_label])))
        model.take(*[sources[is_label].pop(0) for _ in range(size)])
        if data.draw(st.booleans()):
            questions, labels = (min((half.time for half in own), default=FAR) for own in sources.values())
            release = RESTING if rests and data.draw(st.booleans()) else None
            model.advance(marks(questions, labels, release), data.draw(st.integers(1, 9)))
    while any(model.waiting.entries.values()):
        model.advance(marks(FAR, FAR), 3)
    assert set(model.logged) == expected(every)
    assert len(model.logged) == len(set(model.logged))
    assert not any(model.waiting.orders.values())
    if not rests:
        known = {own.number: own.time for own in every}
        places = [(max(at, known[outcome]), at, id) for id, at, _, outcome in model.logged]
        assert places == sorted(places)


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
    model.advance(marks(UNKNOWN, UNKNOWN, RESTING))
    model.advance(marks(FAR, 150, RESTING))  # questions have gone on, labels only to the end of the bound
    model.advance(marks(150, FAR - 1, RESTING))
    assert (model.expired, model.unmatched) == (1, 1)
    model.take(label("b", FAR), question("d", FAR))
    model.advance(marks(FAR, FAR, RESTING))
    assert [own[0] for own in model.logged] == ["b", "d"]


def test_a_question_expires_by_the_labels_watermark() -> None:
    model = Model()
    model.take(question("a", 100))
    assert model.advance(marks(FAR, 150)).expired == 0
    assert model.advance(marks(100, 151)).expired == 1
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
    assert model.advance(marks(20, 100)).examples == []
    decided = model.advance(marks(21, 21))
    assert [own.id for own in decided.examples] == ["b"]
    assert not decided.released


def test_rest_releases_a_complete_example_and_says_so() -> None:
    model = Model()
    model.take(question("b", 10), label("b", 20))
    decided = model.advance(marks(5, 20, RESTING))
    assert [own.id for own in decided.examples] == ["b"]
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
    empty = weight("a", NOTHING)
    join = Join(BOUND, {})
    join.question("a", 10, b"vector")
    ((before, after),) = join.changes.values()
    waiting = weight("a", after) - weight("a", before)
    assert (waiting.questions, waiting.labels) == (1, 0)
    assert waiting.question_bytes > len(b"vector")
    assert waiting + (empty - waiting) == empty == (0, 0, 0, 0, 0)


def test_places_compare_as_times_do() -> None:
    times = [UNKNOWN, -1, 0, 1, 2**53 + 1, RESTING]
    assert sorted(times, key=sort_key) == times
