"""Judge what a command said, and whole recordings, without a loop."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

from tests.life.answer import Answer
from tests.life.verdict import reasons, streamed, verdict, waits, wrong_answer
from tests.oracle.record import LoggedEntry, LoggedVector, Message, Position
from tests.unit.oracle.loops import LOOP, MODEL, START, message, outcome, payment

CHANGED = START + 3_600_000_000
BEFORE = Counter({"events accepted": 10, "events repeated": 1})
AFTER = Counter({"events accepted": 12, "events repeated": 4, "events late": 1})


class Recording:
    """A recording made by hand.

    Attributes
    ----------
    former
        By partition the last position of a vector of a former definition.
    begins
        By partition the position at which the model was added.
    changed_at
        When the definition of its examples changed.
    """

    def __init__(self, vectors: list[LoggedVector], log: list[LoggedEntry]) -> None:
        payments = [message(0, payment("a", 0, card="c", amount=2.5)), message(1, payment("b", 9, card="c"))]
        self.streams: dict[str, list[list[Message]]] = {
            "paid": [payments],
            "outcome": [[message(0, outcome("o", "a", 5))]],
        }
        self.former: dict[int, Position] = {}
        self.begins: dict[int, Position] = {}
        self.changed_at: list[int] = []
        self._vectors = vectors
        self._log = log

    def vectors(self, model: str) -> list[LoggedVector]:
        return self._vectors

    def log(self, model: str) -> list[LoggedEntry]:
        return self._log

    def since(self, model: str) -> dict[int, Position]:
        return self.former

    def added(self, model: str) -> dict[int, Position]:
        return self.begins

    def changes(self, model: str) -> list[int]:
        return self.changed_at


def vector(name: str, place: int, seconds: int, **values: float | None) -> LoggedVector:
    cut = ((1, place - 1, -1),) if place else ((-1, -1, -1),)
    return LoggedVector(name, START + seconds * 1_000_000, 0, (1, place, -1), cut, values, START // 1_000 + 1)


FIRST = vector("a", 0, 0, count=0.0, sum=0.0, amount=2.5)
SECOND = vector("b", 1, 9, count=1.0, sum=2.5, amount=None)
ASKED = [
    LoggedEntry(0, "question", 0, "a", START, math.nan, START, 1.0, FIRST.values, False),
    LoggedEntry(2, "question", 2, "b", START + 9_000_000, math.nan, START + 9_000_000, 1.0, SECOND.values, False),
]
EXAMPLE = LoggedEntry(1, "answer", 0, "a", START, 1.0, START + 5_000_000, 1.0, FIRST.values, False)
LOG = [ASKED[0], EXAMPLE, ASKED[1]]


def test_a_command_that_says_what_became_of_its_events() -> None:
    answer = Answer(sent=7, accepted=2, repeats=3, rejected=2, late=1)
    assert wrong_answer(answer, BEFORE, AFTER) == []


def test_a_repeat_that_is_said_to_count_is_wrong() -> None:
    answer = Answer(sent=7, accepted=5, repeats=0, rejected=2, late=1)
    assert len(wrong_answer(answer, BEFORE, AFTER)) == 1


def test_nothing_is_asked_of_what_is_undecided() -> None:
    assert wrong_answer(Answer(sent=7, undecided=7), BEFORE, AFTER) == []


def test_a_whole_recording_has_no_difference() -> None:
    recording = Recording([FIRST, SECOND], LOG)
    assert verdict(LOOP, recording).differences == []
    assert not waits(LOOP, recording)
    assert reasons(LOOP, recording) == Counter({"events accepted": 3})


def test_vectors_that_were_found_right_are_not_looked_at_again() -> None:
    other = replace(SECOND, values={**SECOND.values, "sum": 9.0})
    right: dict[tuple[str, int], int] = {}
    assert len(verdict(LOOP, Recording([FIRST, other], LOG), right=right).wrong) > 0
    assert right == {}
    assert verdict(LOOP, Recording([FIRST], LOG), right=right).wrong != []  # the answer to b has no vector
    assert right == {("model", 0): 1}
    another = replace(FIRST, values={**FIRST.values, "sum": 9.0})
    looked = verdict(LOOP, Recording([another, SECOND], LOG), right=right).wrong
    whole = verdict(LOOP, Recording([another, SECOND], LOG)).wrong
    assert len(whole) == len(looked) + 1


def test_what_is_missing_is_unfinished() -> None:
    recording = Recording([FIRST], [])
    found = verdict(LOOP, recording)
    assert (len(found.unfinished), found.wrong) == (3, [])
    assert waits(LOOP, recording)


def test_an_example_with_another_vector_is_wrong() -> None:
    log = [ASKED[0], replace(EXAMPLE, values=SECOND.values), ASKED[1]]
    assert verdict(LOOP, Recording([FIRST, SECOND], log)).wrong == [
        "model: answer a at 1 has count 1.0 instead of 0.0, and 2 others"
    ]


def changed(*entries: LoggedEntry, former: int = 0) -> Recording:
    """Return a recording of a model that was changed after its first question."""
    recording = Recording([SECOND], [*(replace(entry, made=True) for entry in entries), ASKED[1]])
    recording.former, recording.changed_at = {0: (1, former, -1)}, [CHANGED]
    return recording


def test_questions_before_a_change_are_made_from_the_events() -> None:
    assert verdict(LOOP, changed(ASKED[0], EXAMPLE)).differences == []
    assert not waits(LOOP, changed(ASKED[0], EXAMPLE))
    lacking = verdict(LOOP, changed())
    assert (len(lacking.unfinished), lacking.wrong) == (2, [])
    assert waits(LOOP, changed())
    (other,) = verdict(LOOP, changed(ASKED[0], replace(EXAMPLE, values=SECOND.values))).wrong[:1]
    assert "count is 1.0 instead of 0.0" in other
    (unknown,) = verdict(LOOP, changed(replace(ASKED[0], id="x"), replace(EXAMPLE, id="x"))).wrong[-2:-1]
    assert "made of no event" in unknown


def test_after_a_definition_returns_what_was_made_earlier_is_judged_by_the_events_of_its_time() -> None:
    without_a = replace(ASKED[1], values={**SECOND.values, "count": 0.0}, made=True)
    recording = Recording([], [without_a])
    (published,) = {message.published for message in recording.streams["paid"][0]}
    recording.former, recording.changed_at = {0: (1, 1, -1)}, [published - 5_000, published + 5_000]
    for made_ms, is_wrong in ((published // 1_000 - 2, False), (published // 1_000 + 9, True)):
        recording._log = [replace(without_a, published_ms=made_ms)]
        assert any("count is 0.0" in problem for problem in verdict(LOOP, recording).wrong) == is_wrong


def test_a_model_that_was_added_has_the_questions_from_there_on() -> None:
    recording = Recording([SECOND], [replace(ASKED[1], seq=0, question=0)])
    assert verdict(LOOP, recording).unfinished
    recording.begins = recording.former = {0: (1, 0, -1)}
    assert verdict(LOOP, recording).differences == []
    assert not waits(LOOP, recording)
    recording.begins = recording.former = {0: (0, 0, -1)}
    assert verdict(LOOP, recording).unfinished
    assert waits(LOOP, recording)


def test_an_example_twice_is_wrong() -> None:
    twice, open_again = verdict(LOOP, Recording([FIRST, SECOND], [*LOG, replace(EXAMPLE, seq=3)])).wrong[:2]
    assert "1 examples twice" in twice
    assert "not open" in open_again


def test_models_of_requests_are_left_out() -> None:
    assert streamed(LOOP) == [MODEL]
