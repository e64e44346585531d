"""Joining questions with their late labels into examples, in event time.

Questions (vectors) and labels come in any order, days apart. A label counts if it is at most the bound away from its
question. Which examples are made depends on the events alone: the first label in the order of its partition answers a
question, however the files came and however long the pauses between them were. Only watermarks expire anything.

The join is a set of functions over the `Entry` of one id. The store keeps the entries and lists them in the orders of
`Index`; the caller loads the entries that a step needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

#: Bytes that each part of an entry takes in the store besides what is in it, rounded up: for an id of 13 characters
#: Valkey takes 229 for a question of 90 bytes, 152 for a label and 133 for a logged question.
_OVERHEAD = 160

#: Moves times to where they are positive, so that their bytes compare as they do.
_SHIFT = 2**63


class Index(StrEnum):
    """The orders in which the store keeps what waits, each by the time at which it is looked at again."""

    #: Questions without a label, by the end of their bound.
    OPEN = "open"
    #: Labels without a question, by the end of their bound.
    LABELS = "labels"
    #: Answered questions that wait for their place in the log, by that place.
    READY = "ready"
    #: Questions that are logged, by the end of their bound: until then, what comes of their id repeats it.
    LOGGED = "logged"


class Question(NamedTuple):
    """A vector that waits: its event time and the vector itself, opaque to the join; None once it is answered."""

    time: int
    vector: bytes | None


class Outcome(NamedTuple):
    """A label that waits: when it came to be known, and its value."""

    time: int
    value: float | str


class Example(NamedTuple):
    """A question with its answer."""

    id: str
    time: int
    vector: bytes
    outcome: Outcome

    @property
    def known(self) -> int:
        """The event time at which both are there."""
        return max(self.time, self.outcome.time)


class Entry(NamedTuple):
    """The questions, labels and examples of one id.

    Attributes
    ----------
    questions
        In the order of time; more than one only where an id comes again after its bound.
    labels
        Labels whose question has not come, in the order in which they were read.
    examples
        Answered questions that wait for their place in the log.
    """

    questions: tuple[Question, ...] = ()
    labels: tuple[Outcome, ...] = ()
    examples: tuple[Example, ...] = ()


class Weight(NamedTuple):
    """How many questions and labels wait, and how many bytes they and the logged questions take in the store."""

    questions: int = 0
    labels: int = 0
    question_bytes: int = 0
    label_bytes: int = 0
    logged_bytes: int = 0

    def __add__(self, other: tuple[int, ...]) -> Weight:  # type: ignore[override]
        return Weight(*(a + b for a, b in zip(self, other, strict=True)))

    def __sub__(self, other: tuple[int, ...]) -> Weight:
        return Weight(*(a - b for a, b in zip(self, other, strict=True)))


NOTHING = Entry()


class Watermarks(NamedTuple):
    """How far the sources of a join are.

    Attributes
    ----------
    questions, labels
        No question, no label before this is still to come, whatever happens.
    release
        Examples known before this may be logged: a source that rests holds nothing back.
    """

    questions: int
    labels: int
    release: int

    @property
    def complete(self) -> int:
        """Everything before this is there."""
        return min(self.questions, self.labels)


def sort_key(time: int) -> bytes:
    """Eight bytes that compare as times do.

    Examples
    --------
    >>> sort_key(-5) < sort_key(0) < sort_key(7)
    True
    """
    return (time + _SHIFT).to_bytes(8, "big")


def places(id: str, entry: Entry, bound: int) -> set[tuple[Index, bytes]]:
    """List the places of an entry in the orders of the store; each begins with its time, as `sort_key` writes it."""
    name = id.encode()
    found: set[tuple[Index, bytes]] = set()
    for question in entry.questions:
        index = Index.LOGGED if question.vector is None else Index.OPEN
        found.add((index, sort_key(question.time + bound) + name))
    found.update((Index.LABELS, sort_key(outcome.time + bound) + name) for outcome in entry.labels)
    found.update((Index.READY, _ready_place(example)) for example in entry.examples)
    return found


def _ready_place(example: Example) -> bytes:
    return sort_key(example.known) + sort_key(example.time) + example.id.encode()


def id_at(index: Index, place: bytes) -> str:
    """The id that a place names."""
    return place[16 if index is Index.READY else 8 :].decode()


def weight(id: str, entry: Entry) -> Weight:
    """Weigh an entry."""
    fixed = 2 * len(id) + _OVERHEAD
    waiting = [question.vector for question in entry.questions if question.vector is not None]
    vectors = [*waiting, *(example.vector for example in entry.examples)]
    texts = sum(len(own.value) for own in entry.labels if isinstance(own.value, str))
    return Weight(
        len(waiting),
        len(entry.labels),
        fixed * len(vectors) + sum(map(len, vectors)),
        fixed * len(entry.labels) + texts,
        fixed * (len(entry.questions) - len(waiting)),
    )


@dataclass
class Decided:
    """The decisions of a step.

    Attributes
    ----------
    examples
        In the order of the log.
    released
        Some of them were logged because a source rests: an earlier example may still come.
    expired
        Questions whose label did not come within the bound.
    unmatched
        Labels whose question did not come within the bound.
    """

    examples: list[Example] = field(default_factory=list)
    released: bool = False
    expired: int = 0
    unmatched: int = 0


class Join:
    """One step of a model's join, over the entries that it is about.

    Parameters
    ----------
    bound
        A label counts if it is at most so far from its question (µs), before or after it.
    entries
        What the store holds of the ids that the step is about.
    """

    def __init__(self, bound: int, entries: Mapping[str, Entry]) -> None:
        self._bound = bound
        self._before = dict(entries)
        self._entries = dict(entries)
        #: Labels that were dropped because their question has another one.
        self.repeated_labels = 0

    def question(self, id: str, time: int, vector: bytes) -> bool:
        """Take a question; False where it repeats another one of this id: the first one counts."""
        entry = self._entries.get(id, NOTHING)
        if any(self._near(question.time, time) for question in entry.questions):
            return False
        # All labels within the bound are of this question; the first one answers it.
        answers = [outcome for outcome in entry.labels if self._near(time, outcome.time)]
        self.repeated_labels += max(len(answers) - 1, 0)
        question = Question(time, None if answers else vector)
        examples = (Example(id, time, vector, answers[0]),) if answers else ()
        self._entries[id] = Entry(
            tuple(sorted((*entry.questions, question), key=lambda own: own.time)),
            tuple(outcome for outcome in entry.labels if outcome not in answers),
            entry.examples + examples,
        )
        return True

    def label(self, id: str, outcome: Outcome) -> bool:
        """Take a label; False where its question has one: the first one counts."""
        entry = self._entries.get(id, NOTHING)
        near = [question for question in entry.questions if self._near(question.time, outcome.time)]
        if not near:
            if outcome in entry.labels:
                self.repeated_labels += 1
                return False
            self._entries[id] = entry._replace(labels=(*entry.labels, outcome))
            return True
        vector = near[0].vector
        if vector is None:
            self.repeated_labels += 1
            return False
        self._entries[id] = Entry(
            tuple(own._replace(vector=None) if own is near[0] else own for own in entry.questions),
            entry.labels,
            (*entry.examples, Example(id, near[0].time, vector, outcome)),
        )
        return True

    def log(self, ready: Iterable[bytes], marks: Watermarks) -> Decided:
        """Log the examples at these places of `Index.READY`, in their order."""
        decided = Decided()
        for place in ready:
            id = id_at(Index.READY, place)
            entry = self._entries.get(id, NOTHING)
            example = next((own for own in entry.examples if place == _ready_place(own)), None)
            if example is not None:
                decided.examples.append(example)
                decided.released |= example.known >= marks.complete
                self._entries[id] = entry._replace(examples=tuple(own for own in entry.examples if own is not example))
        return decided

    def expire(self, ids: Iterable[str], marks: Watermarks, decided: Decided) -> None:
        """Drop questions and labels whose bound is over, and logged questions that can no longer be repeated."""
        for id in ids:
            entry = self._entries.get(id, NOTHING)
            questions = tuple(own for own in entry.questions if not self._is_over(own, marks))
            labels = tuple(own for own in entry.labels if own.time + self._bound >= marks.questions)
            gone = [own for own in entry.questions if own.vector is not None and self._is_over(own, marks)]
            decided.expired += len(gone)
            decided.unmatched += len(entry.labels) - len(labels)
            self._entries[id] = Entry(questions, labels, entry.examples)

    def forget(self, ids: Iterable[str]) -> None:
        """Drop logged questions before their bound is over, because there are too many.

        A label that repeats theirs then waits for a question that does not come.
        """
        for id in ids:
            entry = self._entries.get(id, NOTHING)
            pending = {example.time for example in entry.examples}
            kept = tuple(own for own in entry.questions if own.vector is not None or own.time in pending)
            self._entries[id] = entry._replace(questions=kept)

    @property
    def changes(self) -> dict[str, tuple[Entry, Entry]]:
        """The entries that changed, by id: before and after; `NOTHING` where there is none."""
        pairs = ((id, self._before.get(id, NOTHING), entry) for id, entry in self._entries.items())
        return {id: (before, after) for id, before, after in pairs if before != after}

    def _near(self, question: int, outcome: int) -> bool:
        return abs(outcome - question) <= self._bound

    def _is_over(self, question: Question, marks: Watermarks) -> bool:
        end = question.time + self._bound
        return end < (marks.labels if question.vector is not None else marks.complete)
