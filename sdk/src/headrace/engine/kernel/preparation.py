"""Preparation of events for a view before they are folded: keys, filter, derived columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from headrace.definition import Column, Expression, ViewDefinition
from headrace.engine.arrays import Floats
from headrace.engine.events.columns import ColumnArray, EventColumns
from headrace.engine.kernel.expressions import Program, columns_of
from headrace.engine.kernel.layout import Layout


class Folds(NamedTuple):
    """Events as a view sees them: their entity keys (None: not folded) and their columns."""

    keys: list[str | None]
    values: Floats


class Folding:
    """Prepares events of a view's stream."""

    def __init__(self, view: ViewDefinition, layout: Layout) -> None:
        self._by = view.by
        derived = dict(view.columns)
        expressions: list[Expression] = [derived.get(name, Column(name)) for name in layout.columns]
        self._filtered = view.where is not None
        if view.where is not None:
            expressions.append(view.where)
        self._inputs = columns_of(expressions)
        self._program = Program(expressions, [Column(name) for name in self._inputs])

    def prepare(self, events: EventColumns) -> Folds:
        """Return the folds of events, in order."""
        keys = entity_keys([events.fields[name] for name in self._by], len(events))
        values = self._program.run(self._program.matrix(events.fields, self._inputs, len(events)))
        if self._filtered:
            matches = (values[:, -1] == 1.0).tolist()
            keys = [key if ok else None for key, ok in zip(keys, matches, strict=True)]
            values = np.ascontiguousarray(values[:, :-1])
        return Folds(keys, values)


def entity_keys(columns: Sequence[ColumnArray], size: int) -> list[str | None]:
    """Return the entity key of each event, None if one of its parts is missing.

    A single field is its own key; several are written as a JSON array, so that no two entities share a key.
    """
    texts = [texts_of(column) for column in columns]
    if len(texts) == 1:
        return texts[0]
    return [
        None if any(part is None for part in parts) else msgspec.json.encode(parts).decode()
        for parts in zip(*texts, strict=True)
    ]


def texts_of(column: ColumnArray) -> list[str | None]:
    """Return a column as text, as keys and ids are written, None where missing: integers as such, of whatever type."""
    if column.dtype == object:
        return [value if value is None or isinstance(value, str) else _text(value) for value in column.tolist()]
    return [_text(value) for value in column.tolist()]


def _text(value: float) -> str | None:
    if value != value:
        return None
    return repr(int(value)) if isinstance(value, int) or value.is_integer() else repr(value)
