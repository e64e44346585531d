"""Examples logs for tests: what the joiner would have written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from headrace.definition import Column, FeatureDefinition, FieldType, ModelDefinition, Task
from headrace.log.position import Position
from headrace.log.tables import Examples, encode_examples
from headrace.log.topics import END_OF_HISTORY

Row = dict[str, float | str | None]
Message = tuple[bytes, dict[str, str], Position]


def definition(name: str, task: Task, row: Row, learner: str = "learner", **options: Any) -> ModelDefinition:
    """A model whose features are the fields of a row."""
    features = tuple(
        FeatureDefinition(key, FieldType.STRING if isinstance(value, str) else FieldType.FLOAT, Column(key))
        for key, value in row.items()
    )
    return ModelDefinition(name, "asked", "told", task, features, learner, **options)


def examples(model: ModelDefinition, rows: Sequence[Row], labels: Sequence[Any], first: int = 0) -> Examples:
    """Rows as examples; a missing key is a missing value."""
    floats = [feature.name for feature in model.features if feature.type is FieldType.FLOAT]
    texts = [feature.name for feature in model.features if feature.type is FieldType.STRING]
    numbers = np.array([[row.get(name, np.nan) for name in floats] for row in rows], np.float64)
    categories: list[list[str | None]] = [[row.get(name) for row in rows] for name in texts]  # type: ignore[misc]
    seqs = np.arange(first, first + len(rows))
    times = 1_000_000 * seqs
    told = list(labels) if model.task is Task.MULTICLASS else np.array(labels, np.float64)
    ids = [f"e{seq}" for seq in seqs]
    return Examples(seqs, ids, times, times + 5, told, numbers.reshape(len(rows), -1), categories)


def message(
    model: ModelDefinition, rows: Sequence[Row], labels: Sequence[Any], first: int, entry: int, **properties: str
) -> Message:
    """One message of the log."""
    return encode_examples(model, examples(model, rows, labels, first)), properties, Position(1, entry, -1)


def log(
    model: ModelDefinition, rows: Sequence[Row], labels: Sequence[Any], sizes: Iterable[int] = (), *, end: bool = True
) -> Iterator[Message]:
    """A whole log in messages of these sizes (by turns), the last one saying that history has ended."""
    start = entry = 0
    turns = list(sizes) or [257]
    while start < len(rows):
        stop = min(start + turns[entry % len(turns)], len(rows))
        frontier = END_OF_HISTORY if end and stop == len(rows) else 1_000_000 * stop
        yield message(model, rows[start:stop], labels[start:stop], start, entry, frontier=str(frontier), epoch="1")
        start, entry = stop, entry + 1
