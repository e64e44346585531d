"""Windows over the events of an entity, by definition.

A window of size w with hop h at resolution r, read at t, covers ⌊t/h⌋·h − w + h ≤ time < ⌊t/r⌋·r.
All times are integer microseconds.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Event = Mapping[str, Any]

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True)
class Window:
    """Its size and hop, both in µs."""

    size: int
    hop: int


class View:
    """The values of one stream's events, by entity.

    Parameters
    ----------
    events
        The stream's events, in any order; where two have one time, the later in the list is the newer.
    by
        The fields that name the entity. An event that lacks one of them belongs to nobody.
    value
        What is aggregated; None where an event has none.
    where
        Which events count.
    time
        The field of the event time (µs).
    """

    def __init__(
        self,
        events: Iterable[Event],
        by: tuple[str, ...],
        value: Callable[[Event], float | None] = lambda event: 1.0,
        where: Callable[[Event], bool] = lambda event: True,
        time: str = "at",
        resolution: int = SECOND,
    ) -> None:
        self.resolution = resolution
        self._times: dict[tuple[Any, ...], list[int]] = {}
        self._values: dict[tuple[Any, ...], list[float]] = {}
        for event in sorted(events, key=lambda event: int(event[time])):
            entity, own = tuple(event[name] for name in by), value(event)
            if None not in entity and own is not None and where(event):
                self._times.setdefault(entity, []).append(event[time])
                self._values.setdefault(entity, []).append(own)

    def read(self, aggregate: str, window: Window, entity: tuple[Any, ...], at: int) -> float:
        """The aggregate of the entity's values that the window covers at a time; NaN where there is none."""
        times = self._times.get(entity, [])
        start = at // window.hop * window.hop - window.size + window.hop
        end = at // self.resolution * self.resolution
        covered = self._values.get(entity, [])[bisect_left(times, start) : bisect_left(times, end)]
        return AGGREGATES[aggregate](covered)


def _sum(values: list[float]) -> float:
    return math.fsum(values)


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _std(values: list[float]) -> float:
    """Of a sample: one value has none."""
    if len(values) < 2:
        return math.nan
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


AGGREGATES: Mapping[str, Callable[[list[float]], float]] = {
    "count": lambda values: float(len(values)),
    "sum": _sum,
    "mean": _mean,
    "min": lambda values: min(values, default=math.nan),
    "max": lambda values: max(values, default=math.nan),
    "std": _std,
    "last": lambda values: values[-1] if values else math.nan,
}
