"""Windows by definition: a read at t covers floor(t/hop)*hop - size + hop <= time < floor(t/resolution)*resolution."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from headrace.definition import Aggregate, Column, ViewDefinition
from tests.oracle.events import Event, Partition
from tests.oracle.expressions import Value, evaluate
from tests.oracle.record import Position

#: Text values of the fields that name an entity.
Entity = tuple[str, ...]


class Entry(NamedTuple):
    """The contribution of an event to the row of its entity; `columns` are the values that the view aggregates."""

    time: int
    partition: int
    position: Position
    published: int
    columns: dict[str, Value]


class Row:
    """The contributions of an entity's events, in order of time; at equal times the later position is the newer one."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = sorted(entries, key=lambda entry: (entry.time, entry.partition, entry.position))
        self._times = [entry.time for entry in self._entries]

    def between(self, low: int, high: int | None = None) -> list[Entry]:
        """Return the entries from one time on, up to, but not including, another."""
        end = len(self._times) if high is None else bisect_left(self._times, high)
        return self._entries[bisect_left(self._times, low) : end]


def entity_of(fields: dict[str, Any], names: Sequence[str]) -> Entity | None:
    """Return the entity that fields of an event name; None if one is missing."""
    values = [fields.get(name) for name in names]
    return None if None in values else tuple(str(value) for value in values)


def rows_of(view: ViewDefinition, partitions: Iterable[Partition]) -> dict[Entity, Row]:
    """Return the rows that the accepted events of a view's stream make, by entity."""
    by_entity: dict[Entity, list[Entry]] = {}
    for event in (event for partition in partitions for event in partition.accepted):
        entity = entity_of(event.fields, view.by)
        if entity is not None and (view.where is None or evaluate(view.where, event.fields) == 1.0):
            entry = Entry(event.time, event.partition, event.position, event.published, _columns(view, event))
            by_entity.setdefault(entity, []).append(entry)
    return {entity: Row(entries) for entity, entries in by_entity.items()}


def _columns(view: ViewDefinition, event: Event) -> dict[str, Value]:
    derived = dict(view.columns)
    names = {aggregate.column for aggregate in view.aggregates if aggregate.column is not None}
    return {name: evaluate(derived.get(name, Column(name)), event.fields) for name in names}


def window_of(view: ViewDefinition, name: str, time: int) -> tuple[int, int]:
    """Return the times that a window covers when read at a time: from the first up to, not including, the second."""
    (window,) = [window for window in view.windows if window.name == name]
    head = time // view.resolution * view.resolution
    return time // window.hop * window.hop - window.size + window.hop, head


def widest(view: ViewDefinition, time: int) -> tuple[int, int]:
    """Return the times that any of a view's windows covers."""
    spans = [window_of(view, window.name, time) for window in view.windows]
    return min(low for low, _ in spans), max(high for _, high in spans)


def aggregate(view: ViewDefinition, node: Aggregate, entries: Iterable[Entry], time: int) -> Value:
    """Return the value of an aggregate over a window; `entries` are in the order of a row."""
    (declared,) = [aggregate for aggregate in view.aggregates if aggregate.name == node.aggregate]
    low, high = window_of(view, node.window, time)
    inside = [entry for entry in entries if low <= entry.time < high]
    if declared.column is None:
        return float(len(inside))
    values = [entry.columns[declared.column] for entry in inside]
    return OPERATIONS[declared.operation]([value for value in values if value is not None])


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _std(values: list[float]) -> float | None:
    """Return the standard deviation of a sample: one value has none."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


OPERATIONS: dict[str, Callable[[list[Any]], Value]] = {
    "count": lambda values: float(len(values)),
    "sum": math.fsum,
    "mean": _mean,
    "min": lambda values: min(values, default=None),
    "max": lambda values: max(values, default=None),
    "std": _std,
    "last": lambda values: values[-1] if values else None,
}
