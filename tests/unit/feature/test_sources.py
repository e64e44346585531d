"""The sources of both workers, as a lane and a reader call them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from headrace.engine.kernel.partition import PartitionId
from headrace.runtime.pulsar.consumer import PartitionConsumer
from headrace.watermark import IDLE, UNKNOWN
from headrace.wire.position import START as LOG_START
from headrace.wire.position import Position
from headrace_feature.pulsar.fold_source import FoldSource
from headrace_feature.pulsar.join_source import JoinSource
from tests.support.join_fakes import Log, Pairs, joiner, labels, owned
from tests.support.join_fakes import loop as asking
from tests.support.kernel_loop import SECOND, START, Event, loop
from tests.unit.feature.folds import World, batch, worker

A = PartitionId("a", 0)


def subscribe() -> PartitionConsumer:
    return cast(PartitionConsumer, None)


def test_a_fold_source_ignores_what_was_read_before_a_takeover() -> None:
    world = World()
    fold = worker(world, loop())
    source = FoldSource(fold, A, subscribe, bound=1)
    assert (source.name, source.ready(), source.elected) == ("a-0", True, False)
    former = source.take_over().epoch
    epoch = source.take_over().epoch
    read = batch([(0, Event("a", "1", START, "p", 1.0)), (1, Event("a", "2", START + SECOND, "p", 1.0))])
    source.accept(former, read)
    assert not fold.pulse < 0.1
    source.accept(epoch, read)
    assert fold.pulse < 0.1
    assert (source.owns(former), source.owns(epoch)) == (False, True)


def test_a_worker_reports_no_position_from_before_a_takeover() -> None:
    world = World()
    fold = worker(world, loop())
    source = FoldSource(fold, A, subscribe, bound=1)
    source.accept(source.take_over().epoch, batch([(0, Event("a", "1", START, "p", 1.0))], end=START + SECOND))
    while fold.step():
        pass
    assert A in fold.done()
    source.take_over()
    assert fold.done() == {}


@pytest.mark.parametrize("upstream", [False, True])
def test_vectors_hold_nothing_back_only_if_their_events_do_not(tmp_path: Path, upstream: bool) -> None:
    definition = asking(tmp_path, "stream")
    join = joiner(definition, Pairs(definition), Log())
    features = JoinSource(join, "features", subscribe, lambda: upstream)
    assert (features.elected, features.ready()) == (True, True)
    topics = owned(join)._topics
    assert topics["features"].release_watermark == UNKNOWN
    features.note_end(LOG_START)
    assert topics["features"].release_watermark == UNKNOWN
    features.note_silence(LOG_START)
    assert topics["features"].release_watermark == (IDLE if upstream else UNKNOWN)


def test_a_join_source_reads_labels_after_the_last_position(tmp_path: Path) -> None:
    definition = asking(tmp_path, "stream")
    pairs = Pairs(definition)
    join = joiner(definition, pairs, Log())
    source = JoinSource(join, "loop/told", subscribe)
    assert source.name == "told"
    source = JoinSource(join, "told", subscribe)
    assert source.ready()
    takeover = source.take_over()
    source.accept(takeover.epoch + 1, labels(0, "a"))
    assert source.take_over().position == LOG_START
    source.accept(takeover.epoch, labels(0, "a"))
    assert source.take_over().position == Position(1, 1, -1)
    assert join.done() == {}  # not saved yet
    join.step()
    assert join.done() == {"told": Position(1, 1, -1)}
