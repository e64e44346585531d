"""Events from the future: bounded by declaration, in the fold as at ingest."""

from __future__ import annotations

import msgspec
import pytest

from headrace.definition import LoopDefinition
from headrace.engine.kernel.partition import PartitionId
from headrace.watermark import ENDED
from headrace.wire.position import Position
from tests.support.fold_fakes import finish
from tests.support.kernel_loop import LATENESS, SECOND, START, Event, loop
from tests.unit.feature.folds import World, accept, batch, feed, worker

A, B = PartitionId("a", 0), PartitionId("b", 0)


def bounded(ahead: int | None) -> LoopDefinition:
    definition = loop()
    streams = tuple(msgspec.structs.replace(stream, ahead=ahead) for stream in definition.streams)
    return msgspec.structs.replace(definition, streams=streams)


def test_what_is_further_ahead_than_declared_is_refused_and_makes_nothing_late() -> None:
    world = World()
    fold = worker(world, bounded(2 * SECOND), clock=lambda: START)
    for partition in (A, B):
        fold.take_over(partition)
    at = [START, START + 2 * SECOND, START + 2 * SECOND + 1, START + 3_600 * SECOND, START + 2 * SECOND - LATENESS]
    events = [(place, Event("a", str(place), time, "p", 1.0)) for place, time in enumerate(at)]
    accept(fold, A, batch(events, published=START))
    feed(fold, B, [], ENDED)
    finish(fold)
    assert world.refused == [(Position(2, 0, -1), "at"), (Position(3, 0, -1), "at")]
    assert world.counts["events"] == 3
    assert fold.newest() == START + 2 * SECOND


@pytest.mark.parametrize("now", [START + 86_400 * SECOND, START - 86_400 * SECOND])
def test_it_is_measured_from_when_it_was_published(now: int) -> None:
    """Every reader decides alike, at any time."""
    world = World()
    fold = worker(world, bounded(2 * SECOND), clock=lambda: now)
    fold.take_over(A)
    at = [START + 2 * SECOND, START + 2 * SECOND + 1]
    accept(
        fold,
        A,
        batch([(place, Event("a", str(place), time, "p", 1.0)) for place, time in enumerate(at)], published=START),
    )
    finish(fold)
    assert world.refused == [(Position(1, 0, -1), "at")]


def test_where_nothing_is_declared_any_time_is_taken() -> None:
    world = World()
    fold = worker(world, bounded(None), clock=lambda: START)
    fold.take_over(A)
    feed(fold, A, [(0, Event("a", "0", START + 10**12, "p", 1.0))])
    finish(fold)
    assert world.refused == []
