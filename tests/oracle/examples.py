"""The set of examples that the streams alone determine, and the orders in which a log may hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from headrace.definition import LoopDefinition, ModelDefinition, Task
from tests.oracle.events import Event, Judged, Partition
from tests.oracle.expressions import Value, evaluate
from tests.oracle.record import LoggedExample

_Key = tuple[str, int, float | str, int]


class Label(NamedTuple):
    """A label that an event tells: of which question, when, and what."""

    of: str
    time: int
    value: float | str


class Examples(NamedTuple):
    """The examples of a model as (id, time of the question, label, time of the label), and what became of the rest.

    Attributes
    ----------
    repeated_questions, repeated_labels
        Those that came second.
    unmatched
        Labels that belong to no question (so far).
    open
        Questions without a label (so far).
    """

    made: set[_Key]
    repeated_questions: int
    repeated_labels: int
    unmatched: list[Label]
    open: list[Event]


def examples_of(loop: LoopDefinition, model: ModelDefinition, judged: Judged) -> Examples:
    """The examples that a model's log must come to hold."""
    bound = loop.label(model.label).wait
    questions, repeated = _questions(judged[model.stream], bound)
    answers: dict[tuple[str, int], Label] = {}
    unmatched: list[Label] = []
    repeated_labels = 0
    for label in labels_of(loop, model, judged):
        # A label belongs to the earliest question of its id that is no further away than the bound.
        near = [own for own in questions.get(label.of, []) if abs(label.time - own.time) <= bound]
        if not near:
            unmatched.append(label)
            continue
        question = min(near, key=lambda own: own.time)
        if (question.id, question.time) in answers:
            repeated_labels += 1
        else:
            answers[question.id, question.time] = label
    made = {(key[0], key[1], label.value, label.time) for key, label in answers.items()}
    still_open = [own for group in questions.values() for own in group if (own.id, own.time) not in answers]
    return Examples(made, repeated, repeated_labels, unmatched, still_open)


def _questions(partitions: Sequence[Partition], bound: int) -> tuple[dict[str, list[Event]], int]:
    """The questions by id: of those that are no further apart than the bound the first one read counts."""
    found: dict[str, list[Event]] = {}
    repeated = 0
    for event in _in_order(partitions):
        others = found.setdefault(event.id, [])
        if any(abs(own.time - event.time) <= bound for own in others):
            repeated += 1
        else:
            others.append(event)
    return found, repeated


def labels_of(loop: LoopDefinition, model: ModelDefinition, judged: Judged) -> Iterator[Label]:
    """The labels that accepted events tell, in the order in which they are read."""
    label = loop.label(model.label)
    for event in _in_order(judged[label.stream]):
        of, value = event.fields[label.id], evaluate(label.value, event.fields)
        if of is not None and value is not None:
            yield Label(str(of), event.time, _as_label(model.task, value))


def _as_label(task: Task, value: Value) -> float | str:
    if task is Task.MULTICLASS:
        return value if isinstance(value, str) else str(int(value or 0))
    assert isinstance(value, float)
    return value


def _in_order(partitions: Sequence[Partition]) -> Iterator[Event]:
    """Events in the order of their positions; two of one id are in one partition."""
    for partition in partitions:
        yield from partition.accepted


def wrong_order(logged: Iterable[LoggedExample]) -> list[str]:
    """What is wrong with the order of an examples log.

    An example may stand before one of a lower place only where it was released, without waiting for both watermarks.
    """
    wrong: list[str] = []
    highest: tuple[Any, ...] = ()
    for index, example in enumerate(logged):
        if example.seq != index:
            wrong.append(f"example {example.id} has number {example.seq} instead of {index}")
        if example.place < highest:
            wrong.append(f"example {example.id} at {example.place} stands behind {highest}, which was not released")
        if not example.released:
            highest = max(highest, example.place)
    return wrong
