"""The threads of the scorer when the broker fails them, with a broker in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulsar
import pytest

from headrace.engine.model_version import Version
from headrace.errors import WrongPartitions
from headrace.wire.position import Position
from headrace.wire.tables import decode_predictions
from headrace.wire.topics import Topics
from headrace_scorer.pulsar.stream_scoring import PartitionScoring, StreamScoring
from headrace_scorer.pulsar.version_reader import VersionReader
from headrace_scorer.scored_position import ScoredPosition
from headrace_scorer.status import ScoringProgress
from headrace_scorer.stream_scorer import StreamScorer
from headrace_scorer.version_cache import VersionCache
from tests.deadline import scaled
from tests.headers import header
from tests.support import fake_pulsar
from tests.support.fake_positions import Positions
from tests.support.scored_vectors import properties, vectors
from tests.unit.scorer.support import FRAUD, LOOP, version, versions


@dataclass
class Id:
    entry: int

    def ledger_id(self) -> int:
        return 9

    def entry_id(self) -> int:
        return self.entry

    def batch_index(self) -> int:
        return -1

    def serialize(self) -> bytes:
        """Return nothing, since there is no batch to describe."""
        return b""


@dataclass
class Message:
    entry: int
    payload: bytes
    named: dict[str, str]

    def message_id(self) -> Id:
        return Id(self.entry)

    def data(self) -> bytes:
        return self.payload

    def properties(self) -> dict[str, str]:
        return self.named

    def publish_timestamp(self) -> int:
        return self.entry


@dataclass
class Broker:
    """A broker that delivers to each consumer what is not acknowledged; it refuses the first `refused` messages."""

    log: list[Message]
    refused: int = 0
    acknowledged: int = -1
    sent: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)
    on_acknowledged: Callable[[], None] = lambda: None
    consumers: int = 0
    partitions: dict[str, int] = field(default_factory=dict)

    def get_topic_partitions(self, topic: str) -> list[str]:
        return [f"{topic}-partition-{index}" for index in range(self.partitions[topic])]

    def subscribe(self, *_: Any, **__: Any) -> Consumer:
        self.consumers += 1
        return Consumer(self, [id for id in self.log if id.entry > self.acknowledged])

    def create_producer(self, *_: Any, **__: Any) -> Producer:
        return Producer(self)


@dataclass
class Consumer:
    broker: Broker
    waiting: list[Message]

    def receive(self, timeout_millis: int) -> Message:
        if not self.waiting:
            raise pulsar.Timeout
        return self.waiting.pop(0)

    def batch_receive(self) -> list[Message]:
        found, self.waiting = self.waiting, []
        return found

    def acknowledge_cumulative(self, id: Id) -> None:
        self.broker.acknowledged = id.entry
        self.broker.on_acknowledged()

    def close(self) -> None:
        pass


@dataclass
class Producer:
    broker: Broker

    def send_async(
        self,
        payload: bytes,
        callback: Callable[[Any, Any], None],
        partition_key: str | None,
        properties: dict[str, str],
    ) -> None:
        if self.broker.refused:
            self.broker.refused -= 1
            callback(pulsar.Result.ProducerBlockedQuotaExceededError, None)
        else:
            self.broker.sent.append((payload, properties))
            callback(pulsar.Result.Ok, None)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_predictions_whose_sending_failed_are_made_again() -> None:
    payload = vectors(FRAUD, [1, 2, 3])
    broker = Broker([Message(0, payload, header(payload, **properties(1, 30)))], refused=1)
    current, failures = Version(FRAUD, version(FRAUD)), list[BaseException]()
    thread = PartitionScoring(
        broker,  # type: ignore[arg-type]
        begin=lambda: StreamScorer(FRAUD, lambda: current),
        confirm=lambda stopping: True,
        model=FRAUD,
        source="persistent://public/default/shop-fraud-features",
        target="persistent://public/default/shop-fraud-predictions",
        instance="scorer-0",
        scored=ScoredPosition(Positions(), "topic"),
        topics=Topics("shop"),
        progress=ScoringProgress(),
        failed=failures.append,
    )
    broker.on_acknowledged = thread.stop
    thread.run()
    assert failures == []
    assert broker.acknowledged == 0
    assert [decode_predictions(FRAUD, payload).ids for payload, _ in broker.sent] == [["e1", "e2", "e3"]]


@pytest.mark.parametrize("confirmed", [True, False])
def test_a_new_owner_waits_for_the_versions_that_the_one_before_may_have_had(confirmed: bool) -> None:
    payload = vectors(FRAUD, [1, 2, 3])
    broker = Broker([Message(0, payload, header(payload, **properties(1, 30)))])
    arrived, failures = list[Version](), list[BaseException]()

    def confirm(stopping: threading.Event) -> bool:
        if confirmed:
            arrived.append(Version(FRAUD, version(FRAUD)))
        else:
            stopping.set()
        return confirmed

    thread = PartitionScoring(
        broker,  # type: ignore[arg-type]
        begin=lambda: StreamScorer(FRAUD, lambda: arrived[0] if arrived else None),
        confirm=confirm,
        model=FRAUD,
        source="persistent://public/default/shop-fraud-features",
        target="persistent://public/default/shop-fraud-predictions",
        instance="scorer-0",
        scored=ScoredPosition(Positions(), "topic"),
        topics=Topics("shop"),
        progress=ScoringProgress(),
        failed=failures.append,
    )
    broker.on_acknowledged = thread.stop
    thread.run()
    assert failures == []
    predicted = [decode_predictions(FRAUD, payload).ids for payload, _ in broker.sent]
    assert predicted == ([["e1", "e2", "e3"]] if confirmed else [])
    assert (broker.acknowledged == 0) is confirmed


@pytest.mark.parametrize(("features", "predictions", "names"), [(1, 2, "features"), (2, 1, "predictions")])
def test_topics_with_other_partitions_than_their_stream_are_refused(
    features: int, predictions: int, names: str, tmp_path: Path
) -> None:
    topics = Topics(LOOP.name)
    broker, failures = Broker([]), list[BaseException]()
    # The last model of the loop is the one at fault, and the others do not start either.
    broker.partitions = {
        topics.features("fraud"): 2,
        topics.predictions("fraud"): 2,
        topics.features("sort"): features,
        topics.predictions("sort"): predictions,
    }
    registry = versions()
    reader = VersionReader(
        broker,  # type: ignore[arg-type]
        topics,
        registry,
        VersionCache(tmp_path),
        on_change=lambda: None,
        on_caught_up=lambda: None,
        failed=failures.append,
    )
    reader.caught_up.set()
    thread = StreamScoring(
        broker,  # type: ignore[arg-type]
        LOOP,
        topics,
        registry,
        instance="scorer-0",
        scored=Positions(),
        reader=reader,
        progress=ScoringProgress(),
        failed=failures.append,
    )
    thread.start()
    thread.join(scaled(5))
    thread.stop()
    (failure,) = failures
    assert isinstance(failure, WrongPartitions)
    assert f"sort-{names} has 1 partition, but needs 2, as stream 'paid' declares" in str(failure)
    assert broker.consumers == 0


@dataclass
class Steps:
    """A clock that goes on by a second with each look."""

    now: float = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def standing_by(broker: fake_pulsar.Broker, positions: Positions, steps: Steps) -> PartitionScoring:
    """Return a scorer whose broker gives messages without vectors."""
    return PartitionScoring(
        broker,  # type: ignore[arg-type]
        begin=lambda: StreamScorer(FRAUD, lambda: None),
        confirm=lambda stopping: True,
        model=FRAUD,
        source="source",
        target="target",
        instance="scorer-0",
        scored=ScoredPosition(positions, "source", steps),
        topics=Topics("shop"),
        progress=ScoringProgress(),
        failed=[].append,
        clock=steps,
    )


def test_a_partition_that_the_broker_keeps_for_a_killed_scorer_is_scored_from_its_position() -> None:
    log = [fake_pulsar.Message(entry) for entry in range(4)]
    silent = [fake_pulsar.Subscribed([], last=3) for _ in range(9)]
    broker, positions = fake_pulsar.Broker(silent, log=log), Positions({"source": Position(1, 1, -1)})
    thread = standing_by(broker, positions, Steps())
    positions.on_write = lambda position: thread.stop() if position.entry == 3 else None
    thread.start()
    thread.join(scaled(20))
    assert not thread.is_alive()
    # The messages before it are scored already.
    assert [position.entry for position in positions.writes] == [3]


def test_a_scorer_that_another_one_has_overtaken_stands_by() -> None:
    first = fake_pulsar.Subscribed([[fake_pulsar.Message(0)]], last=3)
    standby = fake_pulsar.Subscribed([], last=None)
    broker, positions = fake_pulsar.Broker([first, standby]), Positions()
    thread = standing_by(broker, positions, Steps())
    # Another scorer goes on at once.
    positions.on_write = lambda position: positions.found.update(source=Position(1, 3, -1))
    standby.on_receive = thread.stop
    thread.start()
    thread.join(scaled(20))
    assert not thread.is_alive()
    assert first.closed
    assert broker.subscribed == [first, standby]


def test_a_reader_says_when_it_has_read_all_versions(tmp_path: Path) -> None:
    topics, caught_up = Topics("loop"), threading.Event()
    reader = VersionReader(
        Broker([], partitions={topics.models: 0}),  # type: ignore[arg-type]
        topics,
        versions(),
        VersionCache(tmp_path),
        on_change=lambda: None,
        on_caught_up=caught_up.set,
        failed=lambda error: None,
    )
    reader.start()
    assert caught_up.wait(scaled(5))
    reader.stop()
    reader.join(scaled(5))
    assert reader.caught_up.is_set()
