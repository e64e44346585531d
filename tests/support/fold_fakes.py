"""A world in memory for the fold worker."""

from __future__ import annotations

import random

from headrace.engine.kernel.partition import PartitionId
from headrace_feature.fold_worker import FoldWorker
from tests.support.kernel_loop import LATENESS, SECOND, START, Event
from tests.unit.feature.folds import (
    World,
    kept,
)

A, B = PartitionId("a", 0), PartitionId("b", 0)


Log = dict[PartitionId, list[tuple[int, Event]]]


def timeline(size: int = 60, seed: int = 1) -> list[Event]:
    """Generate events of two streams and three keys: some late but in time, some simultaneous, a quarter resent."""
    chance, now, events = random.Random(seed), START, []
    for index in range(size):
        late = chance.choice([0, 0, 0, LATENESS - SECOND])
        events.append(Event(chance.choice("ab"), f"{index:03d}", now - late, chance.choice("pqr"), chance.random()))
        now += chance.choice([0, SECOND // 2, 3 * SECOND])
    return [copy for event in events for copy in ([event, event] if chance.random() < 0.25 else [event])]


def finish(fold: FoldWorker) -> None:
    """Do everything that can be done."""
    while fold.step():
        pass


def state(world: World) -> object:
    """Return what must not depend on crashes: vectors in order, and rows without the epoch that wrote them."""
    return world.vectors, {key: kept(row) for key, row in world.rows.items()}, world.seen
