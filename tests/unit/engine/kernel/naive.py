"""Windows computed from their definition alone, as the oracle reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from headrace.definition import Aggregate, ViewDefinition
from tests.oracle.windows import Entry, Row, aggregate


def naive_values(view: ViewDefinition, events: Sequence[tuple[int, dict[str, float]]], t: int) -> list[float]:
    """Return all windows × aggregates of one entity's (time, columns), read at t; NaN if missing."""
    row = Row(
        Entry(time, 0, (0, place, -1), 0, {name: None if math.isnan(x) else x for name, x in columns.items()})
        for place, (time, columns) in enumerate(events)
    )
    found = (
        aggregate(view, Aggregate(view.name, declared.name, window.name, ()), row.between(-(2**62)), t)
        for window in view.windows
        for declared in view.aggregates
    )
    return [value if isinstance(value, float) else math.nan for value in found]
