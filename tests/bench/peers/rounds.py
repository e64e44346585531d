"""Rounds: every target does the same work in turns, again and again; then medians, spreads and ratios."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from tests.bench.peers.host import Disturbance, disturbance, host_time

#: Figures of one target in one round, by name.
Figures = Mapping[str, float]


class Target(Protocol):
    """Something that is measured."""

    @property
    def name(self) -> str: ...

    async def times(self, model: str, size: int, calls: int) -> list[float]:
        """Make calls one after another, each about `size` entities; return the seconds that each took."""
        ...

    async def rate(self, model: str, in_flight: int, calls: int) -> float:
        """Make calls, `in_flight` at once, each about one entity; return calls per second."""
        ...


@dataclass(frozen=True)
class Measure:
    """One kind of work."""

    key: str
    title: str
    model: str
    calls: int
    #: Entities of one call.
    size: int = 1
    in_flight: int = 1

    @property
    def figures(self) -> tuple[str, ...]:
        return ("p50_ms", "p99_ms") if self.in_flight == 1 else ("per_second",)


@dataclass(frozen=True)
class Round:
    """The figures of all targets from one round of one measure."""

    measure: str
    figures: Mapping[str, Figures]
    disturbance: Disturbance


@dataclass(frozen=True)
class Spread:
    """A median over rounds, with the lowest and the highest value."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """A figure of a target, and its ratios to two references, each taken round by round."""

    value: Spread
    to_headrace: Spread | None
    to_floor: Spread | None


async def run_round(measure: Measure, targets: Sequence[Target], pause: float = 0.5) -> Round:
    """Let every target take its turn, after a pause in seconds that shows what else runs on the machine."""
    start = host_time()
    await asyncio.sleep(pause)
    before = host_time()
    figures = {target.name: await take_turn(measure, target) for target in targets}
    taken = disturbance(before, host_time())
    if measure.in_flight > 1:
        # Many requests at once wait for CPUs by themselves.
        taken = replace(taken, waiting=disturbance(start, before).waiting)
    return Round(measure.key, figures, taken)


async def take_turn(measure: Measure, target: Target) -> Figures:
    """Measure one target."""
    try:
        if measure.in_flight > 1:
            return {"per_second": await target.rate(measure.model, measure.in_flight, measure.calls)}
        milliseconds = 1e3 * np.array(await target.times(measure.model, measure.size, measure.calls))
    except Exception as error:
        error.add_note(f"while {target.name} was measured: {measure.title}")
        raise
    return {f"p{percent}_ms": float(np.percentile(milliseconds, percent)) for percent in (50, 99)}


def spread(values: Iterable[float]) -> Spread:
    """Return the median of values, with the lowest and the highest."""
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])


def summary(rounds: Sequence[Round], target: str, figure: str, *, headrace: str, floor: str) -> Summary | None:
    """Summarise one figure of a target over the rounds of one measure, or return None where it has none."""
    values = [each.figures[target][figure] for each in rounds if target in each.figures]
    if not values:
        return None
    return Summary(spread(values), _ratios(rounds, target, figure, headrace), _ratios(rounds, target, figure, floor))


def _ratios(rounds: Sequence[Round], target: str, figure: str, reference: str) -> Spread | None:
    ratios = [
        each.figures[target][figure] / each.figures[reference][figure]
        for each in rounds
        if target in each.figures and reference in each.figures
    ]
    return spread(ratios) if ratios else None
