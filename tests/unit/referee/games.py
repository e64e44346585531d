"""Losses and rules for tests of the referee."""

from __future__ import annotations

import numpy as np

from headrace.engine.arrays import Floats, Ints
from headrace.engine.referee import Declare, Join, Loss, Metric, Record, Referee, Rule

#: Seqs, times and losses.
Columns = tuple[Ints, Ints, Floats]

A, B, C = "a", "b", "c"
RULE = Rule(metric=Metric(Loss.ABSOLUTE), error_rate=0.2, better_by=0.01, after=40, restart=10_000)


def columns(*segments: tuple[int, float], seed: int = 0, start: int = 0) -> Columns:
    """Return losses whose mean changes from segment to segment, each of a number of examples, one a µs."""
    random = np.random.default_rng(seed)
    losses = np.concatenate([np.clip(random.normal(mean, 0.05, size), 0.0, 1.0) for size, mean in segments])
    seqs = np.arange(start, start + len(losses))
    return seqs, seqs + 1_000, losses


def cut(losses: Columns, first: int, last: int) -> Columns:
    """Return some rows."""
    seqs, times, values = losses
    return seqs[first:last], times[first:last], values[first:last]


def started(*challengers: str, rule: Rule = RULE) -> tuple[Referee, list[Record]]:
    """Return a referee of a champion `a` and challengers that have joined, and its records."""
    referee = Referee()
    records = [referee.apply(Declare(A, (A, *challengers), rule))]
    records += [referee.apply(Join(challenger)) for challenger in challengers]
    return referee, records


def decided(losses: dict[str, Columns], rule: Rule = RULE) -> list[Record]:
    """Return what follows from losses that come at once."""
    referee, records = started(*(candidate for candidate in losses if candidate != A), rule=rule)
    for candidate, values in losses.items():
        referee.add(candidate, *values)
    return records + referee.decide()
