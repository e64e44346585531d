"""Events on another partition than that of their key are counted, and logged once."""

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest
from structlog.testing import capture_logs

from headrace.engine.events import StreamCodec
from headrace.engine.kernel.partition import PartitionId
from headrace.runtime.pulsar.routing import partition_of
from headrace.runtime.redis.status import Heartbeat
from headrace_feature.key_placement import CHECKED, KeyPlacement
from tests.support.kernel_loop import START, Event, loop
from tests.unit.feature.folds import World, feed, payload, worker

KEYS = [f"key {number}" for number in range(40)]


class Counts:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def count(self, name: str, by: int = 1) -> None:
        self.counts[name] += by


def events(keys: list[str]) -> list[Event]:
    return [Event("a", str(number), START, key, 1.0) for number, key in enumerate(keys)]


def misplaced(placement: KeyPlacement, counts: Counts, keys: list[str], partitions: int = 2) -> int:
    before = counts.counts["misplaced"]
    stream = loop(partitions).stream("a")
    found, _, _ = StreamCodec(stream).columns([payload(event) for event in events(keys)])
    placement.check(stream, 1, found)
    return counts.counts["misplaced"] - before


def test_misplaced_events_are_counted_and_logged_once() -> None:
    counts = Counts()
    placement = KeyPlacement(cast(Heartbeat, counts))
    right = [key for key in KEYS if partition_of(key, 2) == 1]
    wrong = [key for key in KEYS if partition_of(key, 2) == 0]
    with capture_logs() as logs:
        assert misplaced(placement, counts, right) == 0
        assert logs == []
        assert misplaced(placement, counts, right + wrong) == len(wrong)
        assert misplaced(placement, counts, wrong) == len(wrong)
    assert [(line["event"], line["key"], line["expected"]) for line in logs] == [
        ("key_on_wrong_partition", wrong[0], 0)
    ]


@pytest.mark.parametrize(("keys", "partitions"), [(KEYS, 1), ([""], 2)])
def test_events_without_a_choice_of_partition_are_right(keys: list[str], partitions: int) -> None:
    counts = Counts()
    assert misplaced(KeyPlacement(cast(Heartbeat, counts)), counts, keys, partitions) == 0


def test_a_large_batch_is_sampled() -> None:
    counts = Counts()
    wrong = [key for key in KEYS if partition_of(key, 2) == 0]
    assert CHECKED // 2 <= misplaced(KeyPlacement(cast(Heartbeat, counts)), counts, wrong * CHECKED) <= CHECKED


def test_the_fold_worker_checks_what_it_reads() -> None:
    world, partition = World(), PartitionId("a", 1)
    fold = worker(world, loop(2))
    fold.take_over(partition)
    feed(fold, partition, list(enumerate(events(KEYS))))
    assert world.counts["misplaced"] == sum(partition_of(key, 2) == 0 for key in KEYS)
