"""The set of examples that the streams alone determine, and the orders in which a log may hold them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from headrace.definition import Column, FieldType, LabelDefinition, LoopDefinition, ModelDefinition, Task
from tests.oracle.events import Event, Judged, Partition
from tests.oracle.expressions import Value, evaluate
from tests.oracle.record import LoggedEntry

Key = tuple[str, int, float | str, int, float]


class Label(NamedTuple):
    """A label that an event carries: for which question (or entity), when it is known, and its value."""

    of: str
    time: int
    value: float | str


class Examples(NamedTuple):
    """The examples of a model as (id, time of the question, label, when it was known, weight), and the rest.

    Attributes
    ----------
    repeated_questions, repeated_labels
        Number of those that came second.
    unmatched
        Labels that belong to no question (so far).
    open
        Questions without an answer (so far).
    dropped
        Number of answers left out, of a class of which only a share is kept.
    """

    made: set[Key]
    repeated_questions: int
    repeated_labels: int
    unmatched: list[Label]
    open: list[Event]
    dropped: int


def examples_of(loop: LoopDefinition, model: ModelDefinition, judged: Judged) -> Examples:
    """Return the examples that a model's log must come to hold."""
    label = loop.label(model.label)
    questions, repeated = _questions(judged[model.stream], label.within)
    all_labels = list(labels_of(loop, model, judged))
    if label.after is not None:
        candidates, unmatched = _forecasts(questions, all_labels, label), list[Label]()
    else:
        candidates, unmatched = _by_id(questions, all_labels, label)
    watermark = min(partition.watermark for partition in judged[label.stream])
    answers, still_open, repeated_labels = [], [], 0
    for group in questions.values():
        for question in group:
            mine = candidates.get((question.id, question.time), [])
            repeated_labels += max(len(mine) - 1, 0) if label.after is None else 0
            answer = _answer(label, question, mine, watermark)
            if answer is None:
                still_open.append(question)
            else:
                answers.append((question, answer))
    weights = [weight(label, question.id, answer.value) for question, answer in answers]
    examples = {
        (question.id, question.time, answer.value, answer.time, weight)
        for (question, answer), weight in zip(answers, weights, strict=True)
        if weight
    }
    return Examples(examples, repeated, repeated_labels, unmatched, still_open, weights.count(0.0))


def _answer(label: LabelDefinition, question: Event, mine: list[Label], watermark: int) -> Label | None:
    """Return the label that counts, with the time at which it is known; None if there is none yet."""
    end = question.time + label.within
    if label.after is not None:
        # Take the first in event time, once no earlier one can come.
        first = min(mine, key=lambda answer: answer.time, default=None)
        if first is not None:
            return first if first.time < watermark else None
    elif mine and not label.correct:
        return mine[0]
    if end >= watermark:
        return None
    if mine:
        newest = max(answer.time for answer in mine)
        return Label(question.id, end, [answer.value for answer in mine if answer.time == newest][-1])
    return None if label.absent is None else Label(question.id, end, label.absent)


def weight(label: LabelDefinition, id: str, value: float | str) -> float:
    """Return how many examples an answer represents: 0 if its class is thinned out and its id is not among the kept."""
    for rule in label.keep:
        if rule.label == value:
            chosen = int(hashlib.sha256(id.encode()).hexdigest()[:16], 16) / 2**64 < rule.share
            return 1.0 / rule.share if chosen else 0.0
    return 1.0


_Candidates = dict[tuple[str, int], list[Label]]


def _by_id(
    questions: dict[str, list[Event]], all_labels: list[Label], label: LabelDefinition
) -> tuple[_Candidates, list[Label]]:
    """Return the labels of each question in the order of reading, and the labels without a question."""
    candidates: _Candidates = {}
    unmatched: list[Label] = []
    for answer in all_labels:
        # A label belongs to the earliest question of its id within the bound.
        near = [
            question for question in questions.get(answer.of, []) if abs(answer.time - question.time) <= label.within
        ]
        if near:
            question = min(near, key=lambda question: question.time)
            candidates.setdefault((question.id, question.time), []).append(answer)
        else:
            unmatched.append(answer)
    return candidates, unmatched


def _forecasts(questions: dict[str, list[Event]], all_labels: list[Label], label: LabelDefinition) -> _Candidates:
    """Return the labels of each question's entity that are as much later as the forecast says."""
    candidates: _Candidates = {}
    by_entity: dict[str, list[Label]] = {}
    for answer in all_labels:
        by_entity.setdefault(answer.of, []).append(answer)
    for group in questions.values():
        for question in group:
            labels = by_entity.get(str(question.fields[label.id]), [])
            earliest, latest = question.time + (label.after or 0), question.time + label.within
            candidates[question.id, question.time] = [answer for answer in labels if earliest <= answer.time <= latest]
    return candidates


def _questions(partitions: Sequence[Partition], bound: int) -> tuple[dict[str, list[Event]], int]:
    """Return the questions by id: among those no further apart than the bound, the first one read counts."""
    by_id: dict[str, list[Event]] = {}
    repeated = 0
    for event in _in_order(partitions):
        others = by_id.setdefault(event.id, [])
        if any(abs(other.time - event.time) <= bound for other in others):
            repeated += 1
        else:
            others.append(event)
    return by_id, repeated


def labels_of(loop: LoopDefinition, model: ModelDefinition, judged: Judged) -> Iterator[Label]:
    """Yield the labels of accepted events, in the order in which they are read."""
    label = loop.label(model.label)
    for event in _in_order(judged[label.stream]):
        of, value = event.fields[label.id], evaluate(label.value, event.fields)
        time = event.time if label.known_at is None else event.fields[label.known_at]
        if isinstance(label.value, Column) and label.type is FieldType.INT:
            value = event.fields[label.value.name]  # an integer may exceed the precision of a float
        if of is not None and value is not None and time is not None:
            yield Label(str(of), time, _as_label(model.task, value))


def _as_label(task: Task, value: Value | int) -> float | str:
    if task is Task.MULTICLASS:
        return value if isinstance(value, str) else str(int(value or 0))
    assert isinstance(value, float)
    return value


def _in_order(partitions: Sequence[Partition]) -> Iterator[Event]:
    """Yield events in the order of their positions; two events with one id are in one partition."""
    for partition in partitions:
        yield from partition.accepted


def wrong_order(logged: Iterable[LoggedEntry], *, complete: bool = True) -> list[str]:
    """Return what is wrong with the order of a log.

    An entry may precede one of a lower place only if it was released, without waiting for both watermarks, or
    was made later. Each question is asked once, and closed once, later.

    Parameters
    ----------
    whole
        The log holds no entries of another definition.
    """
    wrong: list[str] = []
    highest: tuple[Any, ...] = ()
    waiting: dict[int, str] = {}
    for index, entry in enumerate(logged):
        if complete and entry.seq != index:
            wrong.append(f"{entry.kind} {entry.id} has number {entry.seq} instead of {index}")
        if entry.kind == "question":
            waiting[entry.seq] = entry.id
        elif waiting.pop(entry.question, None) != entry.id:
            wrong.append(f"{entry.kind} {entry.id} at {entry.seq} closes {entry.question}, which is not open")
        if entry.made:
            continue
        if entry.place < highest:
            wrong.append(f"{entry.kind} {entry.id} at {entry.place} stands behind {highest}, which was not released")
        if not entry.released:
            highest = max(highest, entry.place)
    return wrong
