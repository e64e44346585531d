"""Windows by their definition alone: every event of the entity that lies in the window, looked at one by one."""

from __future__ import annotations

import math
from collections.abc import Sequence

from headrace.definition import AggregateDefinition, ViewDefinition


def naive_values(view: ViewDefinition, events: Sequence[tuple[int, dict[str, float]]], t: int) -> list[float]:
    """All windows × aggregates of one entity's (time, columns), read at t."""
    values = []
    for window in view.windows:
        low = t // window.hop * window.hop - window.size + window.hop
        high = t // view.resolution * view.resolution
        inside = [(at, columns) for at, columns in events if low <= at < high]
        values += [_aggregate(own, inside) for own in view.aggregates]
    return values


def _aggregate(own: AggregateDefinition, inside: list[tuple[int, dict[str, float]]]) -> float:
    if own.column is None:
        return float(len(inside))
    found = [(at, columns[own.column]) for at, columns in inside if not math.isnan(columns[own.column])]
    xs = [x for _, x in found]
    if own.operation == "count":
        return float(len(xs))
    if own.operation == "sum":
        return math.fsum(xs)
    if not xs:
        return math.nan
    if own.operation == "mean":
        return math.fsum(xs) / len(xs)
    if own.operation == "min":
        return min(xs)
    if own.operation == "max":
        return max(xs)
    if own.operation == "last":
        return max(enumerate(found), key=lambda item: (item[1][0], item[0]))[1][1]
    if len(xs) < 2:
        return math.nan
    mean = math.fsum(xs) / len(xs)
    return math.sqrt(math.fsum((x - mean) ** 2 for x in xs) / (len(xs) - 1))
