"""Joining questions with their answers into one log, in event time.

Questions (vectors) and labels come in any order, days apart. Which label answers which question follows from the
events alone, however the files came and however long the pauses between them were: see `Rule`. Only watermarks expire
anything.

A model's log holds questions and answers in one order. A question has its place at its event time, an answer at the
time at which it is known. An answer that is known at t precedes a question that is asked at t, but for its own.

The join is a set of functions over the `Entry` of one id (of a forecast: of one entity). The store keeps the entries
and lists them in the orders of `Index`; the caller loads the entries that a step needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from headrace.definition import Keep, LoopDefinition, ModelDefinition
from headrace.frontier import ENDED

#: Bytes that each part of an entry takes in the store besides what is in it, rounded up: for an id of 13 characters
#: Valkey takes 229 for a question of 90 bytes, 152 for a label and 133 for a closed question.
_OVERHEAD = 160

#: Moves times to where they are positive, so that their bytes compare as they do.
_SHIFT = 2**63

#: A question that is logged where the join reads it comes before all that waits for its place.
_FIRST = -_SHIFT


#: The place in the log of a question whose place is not asked for any more.
_LOGGED = -1


class Index(StrEnum):
    """The orders in which the store keeps what waits, each by the time at which it is looked at again."""

    #: Questions and answers that are not in the log yet, by their place in it.
    PLACED = "placed"
    #: Questions whose answer is not decided, by the time at which it will be.
    OPEN = "open"
    #: Labels that may answer a question that has not come, by the time at which none can come any more.
    LABELS = "labels"
    #: Questions whose answer is logged, by the end of their bound: until then a label or question repeats theirs.
    CLOSED = "closed"


class Outcome(NamedTuple):
    """A label: when it came to be known, and its value."""

    time: int
    value: float | str


class Question(NamedTuple):
    """A question that the store holds.

    Attributes
    ----------
    id, time
        Of its event.
    vector
        Opaque to the join; None once its answer is logged.
    seq
        Its place in the log; None until it is logged.
    outcome
        Its answer. Until it is `decided`: the label that is its answer if no other one comes.
    decided
        No other label counts. Without an outcome it has no answer.
    made
        It was made from kept events after a change of the definition, and was never asked.
    """

    id: str
    time: int
    vector: bytes | None
    seq: int | None = None
    outcome: Outcome | None = None
    decided: bool = False
    made: bool = False

    def label_time(self, bound: int) -> int:
        """The time of its answer; the end of its bound where it has none."""
        return self.outcome.time if self.outcome else self.time + bound

    def known(self, bound: int) -> int:
        """The event time at which both it and its answer, or that it has none, are known."""
        return max(self.time, self.label_time(bound))


class Entry(NamedTuple):
    """The questions and labels of one id, or of one entity where a forecast is joined.

    Attributes
    ----------
    questions
        In the order of time; more than one of an id only where it comes again after its bound.
    labels
        Labels that may answer a question that has not come, in the order in which they were read.
    """

    questions: tuple[Question, ...] = ()
    labels: tuple[Outcome, ...] = ()


NOTHING = Entry()


class Weight(NamedTuple):
    """How many questions and labels wait, and how many bytes they and the closed questions take in the store."""

    questions: int = 0
    labels: int = 0
    question_bytes: int = 0
    label_bytes: int = 0
    closed_bytes: int = 0

    def __add__(self, other: tuple[int, ...]) -> Weight:  # type: ignore[override]
        return Weight(*(a + b for a, b in zip(self, other, strict=True)))

    def __sub__(self, other: tuple[int, ...]) -> Weight:
        return Weight(*(a - b for a, b in zip(self, other, strict=True)))


class Watermarks(NamedTuple):
    """How far the sources of a join are.

    Attributes
    ----------
    questions, labels
        No question, no label before this is still to come, whatever happens.
    release
        What has its place before this may be logged: a source that rests holds nothing back.
    by_events
        The watermark of labels as it is without marks.
    """

    questions: int
    labels: int
    release: int
    by_events: int = ENDED

    @property
    def complete(self) -> int:
        """Everything before this is there."""
        return min(self.questions, self.labels)


@dataclass(frozen=True)
class Rule:
    """Says which label answers a question, when that is decided, and which answers make an example.

    Attributes
    ----------
    bound
        A label counts if it is at most so far from its question (µs), before or after it. The first one that is read
        answers it, and does so at once.
    correct
        The label with the newest event time within the bound answers it, at the end of the bound.
    absent
        The answer of a question without a label, at the end of the bound; None: it has none.
    after
        A forecast (µs): the first event that is at least so much later answers it, once the watermark has passed that
        event. Entries are of entities, and a label may answer several questions.
    keep
        The shares of answers, by their label, that make an example.
    on_arrival
        Questions are logged where the join reads them: those of requests, whose times are in no order.
    """

    bound: int
    correct: bool = False
    absent: float | str | None = None
    after: int | None = None
    keep: tuple[Keep, ...] = ()
    on_arrival: bool = False

    @classmethod
    def of(cls, loop: LoopDefinition, model: ModelDefinition) -> Rule:
        """The rule of a model."""
        label = loop.label(model.label)
        requests = model.vectors == "requests"
        return cls(label.wait, label.correct, label.absent, label.after, label.keep, requests)

    def near(self, question: int, label: int) -> bool:
        """Whether a label of this time may answer a question of that time."""
        if self.after is not None:
            return question + self.after <= label <= question + self.bound
        return abs(label - question) <= self.bound

    def best(self, before: Outcome | None, label: Outcome) -> Outcome:
        """Choose between the answer so far and a label that was read after it."""
        if before is None:
            return label
        if self.correct:
            return label if label.time >= before.time else before
        return label if self.after is not None and label.time < before.time else before

    @property
    def decides_at_once(self) -> bool:
        """Whether the first label that is read is the answer."""
        return not self.correct and self.after is None

    def due(self, question: Question) -> int:
        """The answer of an open question is decided once the watermark of labels is beyond this."""
        if self.after is not None and question.outcome is not None:
            return question.outcome.time
        return question.time + self.bound

    def outdated(self, label: Outcome) -> int:
        """No question of this label can come any more once the watermark of questions is beyond this."""
        return label.time + self.bound if self.after is None else label.time - self.after

    def decide(self, question: Question) -> Question:
        """Decide an open question whose time is due."""
        outcome, end = question.outcome, question.time + self.bound
        if self.correct and outcome is not None:
            outcome = Outcome(end, outcome.value)
        if outcome is None and self.absent is not None:
            outcome = Outcome(end, self.absent)
        return question._replace(outcome=outcome, decided=True)

    def weight(self, id: str, label: float | str) -> float | None:
        """How many examples an answer stands for; None where it makes none.

        The first eight bytes of the SHA-256 of the id, as a fraction of 2^64, are below the share of those kept.
        """
        for kept in self.keep:
            if kept.label == label:
                fraction = int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big") / 2**64
                return 1.0 / kept.share if fraction < kept.share else None
        return 1.0


def sort_key(time: int) -> bytes:
    """Eight bytes that compare as times do.

    Examples
    --------
    >>> sort_key(-5) < sort_key(0) < sort_key(7)
    True
    """
    return (time + _SHIFT).to_bytes(8, "big")


def places(name: str, entry: Entry, rule: Rule) -> set[tuple[Index, bytes]]:
    """List the places of an entry in the orders of the store; each begins with a time, as `sort_key` writes it."""
    text = name.encode()
    found = {(Index.LABELS, sort_key(rule.outdated(label)) + text) for label in entry.labels}
    for question in entry.questions:
        if question.seq is None:
            found.add((Index.PLACED, question_place(name, question, rule)))
        if question.vector is None:
            found.add((Index.CLOSED, sort_key(question.time + rule.bound) + text))
        elif question.decided:
            found.add((Index.PLACED, answer_place(name, question, rule)))
        else:
            found.add((Index.OPEN, sort_key(rule.due(question)) + text))
    return found


# A place in the log: its time, answers before questions, the time and the id of the question, a question before its
# own answer; behind it the entry's name where that is not the id.
_QUESTION, _ANSWER = b"\1", b"\0"


def question_place(name: str, question: Question, rule: Rule) -> bytes:
    """The place of a question in the log, before it is logged."""
    at = _FIRST if rule.on_arrival else question.time
    return sort_key(at) + _QUESTION + sort_key(question.time) + _named(question.id, b"\0", name)


def answer_place(name: str, question: Question, rule: Rule) -> bytes:
    """The place in the log of the entry that closes a decided question."""
    known = question.known(rule.bound)
    # Known when it is asked, it follows its own question.
    order = _QUESTION if known == question.time else _ANSWER
    return sort_key(known) + order + sort_key(question.time) + _named(question.id, b"\1", name)


def _named(id: str, order: bytes, name: str) -> bytes:
    """An id's bytes so that they compare as ids do and show where they end, and the entry's name."""
    return id.encode().replace(b"\0", b"\0\xff") + b"\0\0" + order + (b"" if name == id else b"\1" + name.encode())


def name_at(index: Index, place: bytes) -> str:
    """The name of the entry that stands at a place."""
    if index is not Index.PLACED:
        return place[8:].decode()
    end = 17
    while place[end : end + 2] != b"\0\0":
        end += 2 if place[end] == 0 else 1
    name = place[end + 4 :] if place[end + 3 :] else place[17:end].replace(b"\0\xff", b"\0")
    return name.decode()


def time_at(place: bytes) -> int:
    """The time of a place in an order of the store.

    Examples
    --------
    >>> time_at(sort_key(7) + b"name")
    7
    """
    return int.from_bytes(place[:8], "big") - _SHIFT


def weigh(name: str, entry: Entry) -> Weight:
    """Weigh an entry."""
    fixed = 2 * len(name) + _OVERHEAD
    vectors = [question.vector for question in entry.questions if question.vector is not None]
    texts = sum(len(label.value) for label in entry.labels if isinstance(label.value, str))
    return Weight(
        len(vectors),
        len(entry.labels),
        fixed * len(vectors) + sum(map(len, vectors)),
        fixed * len(entry.labels) + texts,
        fixed * (len(entry.questions) - len(vectors)),
    )


class Logged(NamedTuple):
    """An entry of the log: its place, and the question that it is or that it answers."""

    seq: int
    question: Question

    @property
    def asks(self) -> bool:
        """Whether it is a question."""
        return self.question.seq == self.seq


@dataclass
class Decided:
    """The decisions of a step.

    Attributes
    ----------
    entries
        What goes into the log, in its order.
    released
        Some of it was logged because a source rests: what has an earlier place may still come.
    expired
        Questions whose label did not come within the bound.
    unmatched
        Labels whose question did not come within the bound.
    expired_by_mark, absent_by_mark
        Questions that a mark left without a label, or decided as absent.
    """

    entries: list[Logged] = field(default_factory=list)
    released: bool = False
    expired: int = 0
    unmatched: int = 0
    expired_by_mark: int = 0
    absent_by_mark: int = 0

    def note(self, outcome: Outcome | None, after: Outcome | None, *, by_mark: bool) -> None:
        """Count a question that was decided, given its outcome before and after."""
        self.expired += after is None
        if by_mark:
            self.expired_by_mark += after is None
            self.absent_by_mark += outcome is None and after is not None


class Written(NamedTuple):
    """What a log holds already of a question: its place, that of its answer, and the latest time of both."""

    question: int
    answer: int | None
    latest: int


def _written(written: dict[tuple[str, int], Written], question: Question, asks: bool) -> int | None:
    """The place that a question, or its answer, has in the log already."""
    key = (question.id, question.time)
    found = written.get(key)
    if found is None:
        return None
    if not asks or found.answer is None:
        del written[key]
    return found.question if asks else found.answer


class Join:
    """One step of a model's join, over the entries that it is about.

    Parameters
    ----------
    rule
        Which label answers a question.
    entries
        What the store holds of the names that the step is about.
    """

    def __init__(self, rule: Rule, entries: Mapping[str, Entry]) -> None:
        self._rule = rule
        self._before = dict(entries)
        self._entries = dict(entries)
        #: Labels that were dropped because their question has another one.
        self.repeated_labels = 0

    def question(
        self, name: str, id: str, time: int, vector: bytes, outcome: Outcome | None = None, *, made: bool = False
    ) -> bool:
        """Take a question; False where it repeats another one of its id: the first one counts.

        Parameters
        ----------
        outcome
            Its answer so far.
        """
        entry, rule = self._entries.get(name, NOTHING), self._rule
        if any(asked.id == id and abs(asked.time - time) <= rule.bound for asked in entry.questions):
            return False
        question = Question(id, time, vector, outcome=outcome, made=made)
        labels = [label for label in entry.labels if rule.near(time, label.time)]
        for label in labels:
            question = question._replace(outcome=rule.best(question.outcome, label))
        if rule.decides_at_once:
            question = question._replace(decided=bool(labels))
            self.repeated_labels += max(len(labels) - 1, 0)
        self._entries[name] = Entry(
            tuple(sorted((*entry.questions, question), key=lambda asked: (asked.time, asked.id))),
            # All labels within the bound are of this question, unless they are of an entity.
            entry.labels if rule.after is not None else tuple(own for own in entry.labels if own not in labels),
        )
        return True

    def closed(self, id: str, time: int) -> None:
        """Take a question (of no forecast) whose answer is logged already: labels of it repeat that one."""
        entry, rule = self._entries.get(id, NOTHING), self._rule
        if any(asked.id == id and asked.time == time for asked in entry.questions):
            return
        question = Question(id, time, None, seq=_LOGGED, decided=True, made=True)
        self._entries[id] = Entry(
            tuple(sorted((*entry.questions, question), key=lambda asked: (asked.time, asked.id))),
            tuple(own for own in entry.labels if not rule.near(time, own.time)),
        )

    def label(self, name: str, label: Outcome) -> bool:
        """Take a label; False where its question has one that counts instead."""
        if self._rule.after is not None:
            return self._forecast(name, label)
        entry, rule = self._entries.get(name, NOTHING), self._rule
        near = [question for question in entry.questions if rule.near(question.time, label.time)]
        if not near:
            if label in entry.labels:
                self.repeated_labels += 1
                return False
            self._entries[name] = entry._replace(labels=(*entry.labels, label))
            return True
        asked = near[0]
        if asked.decided:
            self.repeated_labels += 1
            return False
        answered = asked._replace(outcome=rule.best(asked.outcome, label), decided=rule.decides_at_once)
        self._entries[name] = entry._replace(
            questions=tuple(answered if question is asked else question for question in entry.questions)
        )
        return True

    def _forecast(self, name: str, label: Outcome) -> bool:
        entry, rule = self._entries.get(name, NOTHING), self._rule
        questions = tuple(
            question._replace(outcome=rule.best(question.outcome, label))
            if not question.decided and rule.near(question.time, label.time)
            else question
            for question in entry.questions
        )
        self._entries[name] = Entry(questions, (*entry.labels, label))
        return True

    def decide(self, names: Iterable[str], marks: Watermarks, decided: Decided) -> None:
        """Decide questions that are due, drop labels without a question, and closed questions whose bound is over."""
        rule = self._rule
        for name in names:
            entry = self._entries.get(name, NOTHING)
            questions: list[Question] = []
            for question in entry.questions:
                if question.vector is None and question.time + rule.bound < marks.complete:
                    continue
                if question.vector is not None and not question.decided and rule.due(question) < marks.labels:
                    outcome, by_mark = question.outcome, rule.due(question) >= marks.by_events
                    question = rule.decide(question)
                    decided.note(outcome, question.outcome, by_mark=by_mark)
                questions.append(question)
            labels = tuple(label for label in entry.labels if rule.outdated(label) >= marks.questions)
            decided.unmatched += 0 if rule.after is not None else len(entry.labels) - len(labels)
            self._entries[name] = Entry(tuple(questions), labels)

    def log(
        self,
        ready: Iterable[bytes],
        marks: Watermarks,
        sequence: int,
        decided: Decided,
        written: dict[tuple[str, int], Written] | None = None,
    ) -> None:
        """Log what stands at these places of `Index.PLACED`, in their order.

        Parameters
        ----------
        sequence
            The place of the next entry in the log.
        written
            By id and time the questions that are in the log already: they keep their places. Those that are done with
            are taken out.
        """
        written = {} if written is None else written
        for place in ready:
            name = name_at(Index.PLACED, place)
            entry = self._entries.get(name, NOTHING)
            for index, question in enumerate(entry.questions):
                asks = self._stands_at(place, name, question)
                if asks is None:
                    continue
                seq = _written(written, question, asks)
                if seq is None:
                    seq, sequence = sequence, sequence + 1
                    decided.entries.append(Logged(seq, question._replace(seq=seq) if asks else question))
                    decided.released |= sort_key(_FIRST) < place[:8] and place[:8] >= sort_key(marks.complete)
                after = question._replace(seq=seq) if asks else question._replace(vector=None, outcome=None)
                questions = (*entry.questions[:index], after, *entry.questions[index + 1 :])
                self._entries[name] = entry._replace(questions=questions)
                break

    def _stands_at(self, place: bytes, name: str, question: Question) -> bool | None:
        """Whether a question stands at a place (True), its answer does (False), or none of both."""
        if question.seq is None:
            return True if place == question_place(name, question, self._rule) else None
        answers = question.decided and question.vector is not None
        return False if answers and place == answer_place(name, question, self._rule) else None

    def forget(self, names: Iterable[str]) -> None:
        """Drop closed questions before their bound is over, because there are too many.

        A label that repeats theirs then waits for a question that does not come.
        """
        for name in names:
            entry = self._entries.get(name, NOTHING)
            kept = tuple(question for question in entry.questions if question.vector is not None)
            self._entries[name] = entry._replace(questions=kept)

    def entry(self, name: str) -> Entry:
        """The entry of a name as it is now."""
        return self._entries.get(name, NOTHING)

    @property
    def changes(self) -> dict[str, tuple[Entry, Entry]]:
        """The entries that changed, by name: before and after; `NOTHING` where there is none."""
        pairs = ((name, self._before.get(name, NOTHING), entry) for name, entry in self._entries.items())
        return {name: (before, after) for name, before, after in pairs if before != after}
