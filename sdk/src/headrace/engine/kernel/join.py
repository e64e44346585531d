"""Joining questions with their answers into one log, in event time.

Questions (vectors) and labels arrive in any order, days apart. The events alone determine which label answers which
question, regardless of the order of files and the length of pauses: see `Rule`. Only watermarks expire anything.

A model's log holds questions and answers in one order. A question is placed at its event time, an answer at the time
when it becomes known. An answer known at t precedes a question asked at t, except its own question.

The join is a set of functions over the `Entry` of one id (for a forecast: of one entity). The store keeps the entries
and lists them in the orders of `Index`; the caller loads the entries that a step needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from headrace.definition import Keep, LoopDefinition, ModelDefinition
from headrace.watermark import ENDED

#: Bytes that each part of an entry takes in the store besides its content, rounded up: for an id of 13 characters
#: Valkey takes 229 for a question of 90 bytes, 152 for a label and 133 for a closed question.
_OVERHEAD = 160

#: Shifts times to positive values, so that their bytes compare as they do.
_SHIFT = 2**63

#: The place of a question that is logged when the join reads it: before everything that waits for its place.
_FIRST = -_SHIFT


#: The place in the log of a question whose place is not needed any longer.
_LOGGED = -1


class Index(StrEnum):
    """Orders in which the store keeps waiting entries, each by the time when an entry is next examined."""

    #: Questions and answers that are not in the log yet, by their place in it.
    PLACED = "placed"
    #: Questions whose answer is not decided, by the time when it will be.
    OPEN = "open"
    #: Labels that may answer a question that has not come, by the time after which none can come.
    LABELS = "labels"
    #: Questions whose answer is logged, by the end of their bound: until then, other labels and questions are repeats.
    CLOSED = "closed"


class Outcome(NamedTuple):
    """A label: the time when it became known, and its value."""

    time: int
    value: float | str


class Question(NamedTuple):
    """A question held in the store.

    Attributes
    ----------
    id, time
        Those of its event.
    vector
        Opaque to the join; None once its answer is logged.
    seq
        Its place in the log; None until it is logged.
    outcome
        Its answer. As long as it is not `decided`: the label that becomes its answer if no better one comes.
    decided
        No other label counts. Without an outcome, the question has no answer.
    made
        It was built from kept events after a change of the definition, and was never asked.
    """

    id: str
    time: int
    vector: bytes | None
    seq: int | None = None
    outcome: Outcome | None = None
    decided: bool = False
    made: bool = False

    def label_time(self, bound: int) -> int:
        """Return the time of its answer, or the end of its bound if it has none."""
        return self.outcome.time if self.outcome else self.time + bound

    def known(self, bound: int) -> int:
        """Return the event time at which both the question and its answer, or that it has none, are known."""
        return max(self.time, self.label_time(bound))


class Entry(NamedTuple):
    """The questions and labels of one id, or of one entity if the join is a forecast's.

    Attributes
    ----------
    questions
        Questions in the order of time; an id has several only if it comes again after its bound.
    labels
        Labels that may answer a question that has not come, in the order in which they were read.
    """

    questions: tuple[Question, ...] = ()
    labels: tuple[Outcome, ...] = ()


NOTHING = Entry()


class Weight(NamedTuple):
    """Numbers of waiting questions and labels, and the bytes that they and the closed questions take in the store."""

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
    """Progress of a join's sources.

    Attributes
    ----------
    questions, labels
        Times before which no question and no label can still come, in any case.
    release
        Entries placed before this time may be logged: an idle or ended source holds nothing back.
    by_events
        The labels' watermark without marks.
    """

    questions: int
    labels: int
    release: int
    by_events: int = ENDED

    @property
    def complete(self) -> int:
        """The time before which everything has arrived."""
        return min(self.questions, self.labels)


@dataclass(frozen=True)
class Rule:
    """Rule for which label answers a question, when that is decided, and which answers make an example.

    Attributes
    ----------
    bound
        A label counts if it is at most this far from its question (µs), before or after it. The first one read
        answers the question, at once.
    correct
        The label with the newest event time within the bound is the answer, decided at the end of the bound.
    absent
        The answer of a question without a label, given at the end of the bound; None: it has no answer.
    after
        For a forecast (µs): the first event at least this much later is the answer, once the watermark has passed that
        event. Entries belong to entities, and a label may answer several questions.
    keep
        Shares of answers, by their label, that make an example.
    on_arrival
        Log questions when the join reads them: those of requests, whose times are in no order.
    """

    bound: int
    correct: bool = False
    absent: float | str | None = None
    after: int | None = None
    keep: tuple[Keep, ...] = ()
    on_arrival: bool = False

    @classmethod
    def of(cls, loop: LoopDefinition, model: ModelDefinition) -> Rule:
        """Return the rule of a model."""
        label = loop.label(model.label)
        requests = model.vectors == "requests"
        return cls(label.within, label.correct, label.absent, label.after, label.keep, requests)

    def near(self, question: int, label: int) -> bool:
        """Return whether a label of this time may answer a question of that time."""
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
        """Whether the first label read is the answer."""
        return not self.correct and self.after is None

    def due(self, question: Question) -> int:
        """Return the time that the labels' watermark must pass before an open question is decided."""
        if self.after is not None and question.outcome is not None:
            return question.outcome.time
        return question.time + self.bound

    def outdated(self, label: Outcome) -> int:
        """Return the time after which the questions' watermark admits no further question of this label."""
        return label.time + self.bound if self.after is None else label.time - self.after

    def decide(self, question: Question) -> Question:
        """Decide an open question that is due."""
        outcome, end = question.outcome, question.time + self.bound
        if self.correct and outcome is not None:
            outcome = Outcome(end, outcome.value)
        if outcome is None and self.absent is not None:
            outcome = Outcome(end, self.absent)
        return question._replace(outcome=outcome, decided=True)

    def weight(self, id: str, label: float | str) -> float | None:
        """Return the weight of an answer, as a number of examples; None if it makes none.

        An answer is kept if the first eight bytes of the SHA-256 of the id, as a fraction of 2^64, are below its share.
        """
        for keep in self.keep:
            if keep.label == label:
                fraction = int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big") / 2**64
                return 1.0 / keep.share if fraction < keep.share else None
        return 1.0


def sort_key(time: int) -> bytes:
    """Return eight bytes that compare as times do.

    Examples
    --------
    >>> sort_key(-5) < sort_key(0) < sort_key(7)
    True
    """
    return (time + _SHIFT).to_bytes(8, "big")


def places(name: str, entry: Entry, rule: Rule) -> set[tuple[Index, bytes]]:
    """List the places of an entry in the store's orders; each begins with a time in the format of `sort_key`."""
    text = name.encode()
    result = {(Index.LABELS, sort_key(rule.outdated(label)) + text) for label in entry.labels}
    for question in entry.questions:
        if question.seq is None:
            result.add((Index.PLACED, question_place(name, question, rule)))
        if question.vector is None:
            result.add((Index.CLOSED, sort_key(question.time + rule.bound) + text))
        elif question.decided:
            result.add((Index.PLACED, answer_place(name, question, rule)))
        else:
            result.add((Index.OPEN, sort_key(rule.due(question)) + text))
    return result


# A place in the log sorts by its time, then answers before questions, then by the time and the id of the question, then
# a question before its own answer. The entry's name follows if it is not the id.
_QUESTION, _ANSWER = b"\1", b"\0"


def question_place(name: str, question: Question, rule: Rule) -> bytes:
    """Return the place of a question in the log, before it is logged."""
    at = _FIRST if rule.on_arrival else question.time
    return sort_key(at) + _QUESTION + sort_key(question.time) + _id_key(question.id, b"\0", name)


def answer_place(name: str, question: Question, rule: Rule) -> bytes:
    """Return the place in the log of the entry that closes a decided question."""
    known_at = question.known(rule.bound)
    # An answer that is known when its question is asked follows that question.
    order = _QUESTION if known_at == question.time else _ANSWER
    return sort_key(known_at) + order + sort_key(question.time) + _id_key(question.id, b"\1", name)


def _id_key(id: str, order: bytes, name: str) -> bytes:
    """Encode an id so that its bytes compare as ids do and show where they end, followed by the entry's name."""
    return id.encode().replace(b"\0", b"\0\xff") + b"\0\0" + order + (b"" if name == id else b"\1" + name.encode())


def name_at(index: Index, place: bytes) -> str:
    """Return the name of the entry at a place."""
    if index is not Index.PLACED:
        return place[8:].decode()
    end = 17
    while place[end : end + 2] != b"\0\0":
        end += 2 if place[end] == 0 else 1
    name = place[end + 4 :] if place[end + 3 :] else place[17:end].replace(b"\0\xff", b"\0")
    return name.decode()


def time_at(place: bytes) -> int:
    """Return the time of a place in an order of the store.

    Examples
    --------
    >>> time_at(sort_key(7) + b"name")
    7
    """
    return int.from_bytes(place[:8], "big") - _SHIFT


def weigh(name: str, entry: Entry) -> Weight:
    """Compute the weight of an entry."""
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
    """An entry of the log: its place, and the question that it is or answers."""

    seq: int
    question: Question

    @property
    def asks(self) -> bool:
        """Whether it is a question."""
        return self.question.seq == self.seq


@dataclass
class Decided:
    """Decisions of one step.

    Attributes
    ----------
    entries
        Entries for the log, in order.
    released
        Some were logged because a source is idle or ended: entries with an earlier place may still come.
    expired
        Number of questions whose label did not come within the bound.
    unmatched
        Number of labels whose question did not come within the bound.
    expired_by_mark, absent_by_mark
        Numbers of questions that a mark left without a label, or decided as absent.
    """

    entries: list[Logged] = field(default_factory=list)
    released: bool = False
    expired: int = 0
    unmatched: int = 0
    expired_by_mark: int = 0
    absent_by_mark: int = 0

    def note(self, outcome: Outcome | None, after: Outcome | None, *, by_mark: bool) -> None:
        """Count a decided question, given its outcome before and after the decision."""
        self.expired += after is None
        if by_mark:
            self.expired_by_mark += after is None
            self.absent_by_mark += outcome is None and after is not None


class Written(NamedTuple):
    """Record of a question in a log: its place, that of its answer, and the latest time of both."""

    question: int
    answer: int | None
    latest: int


def _written(written: dict[tuple[str, int], Written], question: Question, asks: bool) -> int | None:
    """Return the place that a question, or its answer, already has in the log."""
    key = (question.id, question.time)
    entry = written.get(key)
    if entry is None:
        return None
    if not asks or entry.answer is None:
        del written[key]
    return entry.question if asks else entry.answer


class Join:
    """One step of a model's join, over the entries that it involves.

    Parameters
    ----------
    rule
        The rule that determines which label answers a question.
    entries
        The store's entries for the names that the step involves.
    """

    def __init__(self, rule: Rule, entries: Mapping[str, Entry]) -> None:
        self._rule = rule
        self._before = dict(entries)
        self._entries = dict(entries)
        #: Number of labels dropped because their question has another one.
        self.repeated_labels = 0

    def question(
        self,
        name: str,
        id: str,
        time: int,
        vector: bytes,
        *,
        seq: int | None = None,
        outcome: Outcome | None = None,
        made: bool = False,
    ) -> bool:
        """Take a question; return False if it repeats another one of its id: the first one counts.

        Parameters
        ----------
        seq
            Its place in the log, if it has one already.
        outcome
            The answer so far.
        """
        entry, rule = self._entries.get(name, NOTHING), self._rule
        if any(other.id == id and abs(other.time - time) <= rule.bound for other in entry.questions):
            return False
        question = Question(id, time, vector, seq=seq, outcome=outcome, made=made)
        labels = [label for label in entry.labels if rule.near(time, label.time)]
        for label in labels:
            question = question._replace(outcome=rule.best(question.outcome, label))
        if rule.decides_at_once:
            question = question._replace(decided=bool(labels))
            self.repeated_labels += max(len(labels) - 1, 0)
        self._entries[name] = Entry(
            tuple(sorted((*entry.questions, question), key=lambda item: (item.time, item.id))),
            # All labels within the bound belong to this question, unless they belong to an entity.
            entry.labels if rule.after is not None else tuple(label for label in entry.labels if label not in labels),
        )
        return True

    def closed(self, id: str, time: int) -> None:
        """Take a question (of no forecast) whose answer is already logged: its further labels are repeats."""
        entry, rule = self._entries.get(id, NOTHING), self._rule
        if any(other.id == id and other.time == time for other in entry.questions):
            return
        question = Question(id, time, None, seq=_LOGGED, decided=True, made=True)
        self._entries[id] = Entry(
            tuple(sorted((*entry.questions, question), key=lambda item: (item.time, item.id))),
            tuple(label for label in entry.labels if not rule.near(time, label.time)),
        )

    def label(self, name: str, label: Outcome) -> bool:
        """Take a label; return False if it is a repeat, or if another label of its question counts instead."""
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
        nearest = near[0]
        if nearest.decided:
            self.repeated_labels += 1
            return False
        answered = nearest._replace(outcome=rule.best(nearest.outcome, label), decided=rule.decides_at_once)
        self._entries[name] = entry._replace(
            questions=tuple(answered if question is nearest else question for question in entry.questions)
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
        """Decide questions that are due; drop labels without a question, and closed questions whose bound is over."""
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
        *,
        written: dict[tuple[str, int], Written] | None = None,
    ) -> None:
        """Log the entries at these places of `Index.PLACED`, in order.

        Parameters
        ----------
        sequence
            The place of the next entry in the log.
        written
            The questions that are in the log already, by id and time: they keep their places. Those that are finished
            are removed from it.
        """
        written = {} if written is None else written
        for place in ready:
            name = name_at(Index.PLACED, place)
            entry = self._entries.get(name, NOTHING)
            for index, question in enumerate(entry.questions):
                asks = self._asks_at(place, name, question)
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

    def _asks_at(self, place: bytes, name: str, question: Question) -> bool | None:
        """Return True if a question is at a place, False if its answer is, None if neither is."""
        if question.seq is None:
            return True if place == question_place(name, question, self._rule) else None
        answers = question.decided and question.vector is not None
        return False if answers and place == answer_place(name, question, self._rule) else None

    def forget(self, names: Iterable[str]) -> None:
        """Drop closed questions before their bound is over, because there are too many.

        A label that repeats theirs then waits for a question that never comes.
        """
        for name in names:
            entry = self._entries.get(name, NOTHING)
            questions = tuple(question for question in entry.questions if question.vector is not None)
            self._entries[name] = entry._replace(questions=questions)

    def entry(self, name: str) -> Entry:
        """Return the current entry of a name."""
        return self._entries.get(name, NOTHING)

    @property
    def changes(self) -> dict[str, tuple[Entry, Entry]]:
        """The entries that changed, by name, before and after; `NOTHING` if there is none."""
        pairs = ((name, self._before.get(name, NOTHING), entry) for name, entry in self._entries.items())
        return {name: (before, after) for name, before, after in pairs if before != after}
