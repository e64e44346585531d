"""Logs of questions and answers for tests: the entries that the join would have written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from headrace.definition import Column, FeatureDefinition, FieldType, ModelDefinition, Task
from headrace.wire.envelope import Envelope
from headrace.wire.message import Message
from headrace.wire.position import Position
from headrace.wire.tables import Kind, LogEntries, encode_log
from headrace.wire.topics import END_OF_HISTORY

Row = dict[str, float | str | None]


class Entry(NamedTuple):
    """An entry of a log: its kind, the number of its question among the questions, and the contents of an answer."""

    kind: Kind
    number: int
    label: Any = None
    weight: float = 1.0


def definition(name: str, task: Task, row: Row, learner: str = "learner", **options: Any) -> ModelDefinition:
    """Return a model whose features are the fields of a row."""
    features = tuple(
        FeatureDefinition(key, FieldType.STRING if isinstance(value, str) else FieldType.FLOAT, Column(key))
        for key, value in row.items()
    )
    return ModelDefinition(name, "asked", "told", task, features, learner, **options)


def alternating(labels: Sequence[Any], weights: Sequence[float] = ()) -> list[Entry]:
    """Return each question, directly followed by its answer."""
    stakes = weights or [1.0] * len(labels)
    return [
        entry
        for number, (label, weight) in enumerate(zip(labels, stakes, strict=True))
        for entry in (Entry(Kind.QUESTION, number), Entry(Kind.ANSWER, number, label, weight))
    ]


def entries_of(model: ModelDefinition, rows: Sequence[Row], log: Sequence[Entry]) -> LogEntries:
    """Return a whole log; question n has row n as its vector, the id `e<n>`, and n seconds as its time."""
    places = {entry.number: place for place, entry in enumerate(log) if entry.kind is Kind.QUESTION}
    vectors = [{} if entry.kind is Kind.UNANSWERED else rows[entry.number] for entry in log]
    floats = [feature.name for feature in model.features if feature.type is FieldType.FLOAT]
    texts = [feature.name for feature in model.features if feature.type is FieldType.STRING]
    numbers = np.array([[row.get(name, np.nan) for name in floats] for row in vectors], np.float64)
    categories: list[list[str | None]] = [[row.get(name) for row in vectors] for name in texts]  # type: ignore[misc]
    times = 1_000_000 * np.array([entry.number for entry in log], np.int64)
    known = [entry.label if entry.kind is Kind.ANSWER else None for entry in log]
    text = model.task is Task.MULTICLASS
    return LogEntries(
        np.arange(len(log)),
        np.array([entry.kind for entry in log], np.int8),
        np.array([places.get(entry.number, -1) for entry in log], np.int64),
        [f"e{entry.number}" for entry in log],
        times,
        times + 5,
        ["" if label is None else label for label in known]
        if text
        else np.array([np.nan if label is None else label for label in known], np.float64),
        np.array([entry.weight for entry in log], np.float64),
        numbers.reshape(len(log), -1),
        categories,
    )


def shifted(entries: LogEntries, places: int) -> LogEntries:
    """Return the same entries, with sequence numbers higher by `places`."""
    return replace(entries, seqs=entries.seqs + places, questions=entries.questions + places)


def message(model: ModelDefinition, entries: LogEntries, number: int, **fields: Any) -> Message:
    """Return one message of the log."""
    envelope = Envelope(**{"definition": model.hash, **fields})
    return Message(Position(1, number, -1), encode_log(model, entries), envelope)


def messages(
    model: ModelDefinition, rows: Sequence[Row], log: Sequence[Entry], sizes: Iterable[int] = (), *, end: bool = True
) -> Iterator[Message]:
    """Yield a whole log in messages of these sizes (in turn); the last one says that history has ended."""
    entries = entries_of(model, rows, log)
    start = number = 0
    turns = list(sizes) or [257]
    while start < len(entries):
        stop = min(start + turns[number % len(turns)], len(entries))
        release_watermark = END_OF_HISTORY if end and stop == len(entries) else int(entries.times[stop - 1])
        part = entries.take(range(start, stop))
        yield message(model, part, number, release_watermark=release_watermark, epoch=1)
        start, number = stop, number + 1


def log(
    model: ModelDefinition, rows: Sequence[Row], labels: Sequence[Any], sizes: Iterable[int] = (), *, end: bool = True
) -> Iterator[Message]:
    """Yield a log in which each question is answered at once."""
    return messages(model, rows, alternating(labels), sizes, end=end)
