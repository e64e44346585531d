"""What the threads of the scorer do where the broker fails them, on a broker in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pulsar

from headrace.log.tables import decode_predictions
from headrace.version import Version
from headrace_scorer.stream import StreamScorer
from headrace_scorer.telling import Progress
from headrace_scorer.threads import PartitionScoring
from tests.unit.scorer.support import FRAUD, version
from tests.unit.scorer.test_stream import properties, vectors


@dataclass
class Id:
    entry: int

    def ledger_id(self) -> int:
        return 9

    def entry_id(self) -> int:
        return self.entry

    def batch_index(self) -> int:
        return -1


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
    """Delivers to each consumer what is not acknowledged; refuses as many messages as it is told to."""

    log: list[Message]
    refused: int = 0
    acknowledged: int = -1
    sent: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)
    on_acknowledged: Callable[[], None] = lambda: None

    def subscribe(self, *_: Any, **__: Any) -> Consumer:
        return Consumer(self, [own for own in self.log if own.entry > self.acknowledged])

    def create_producer(self, *_: Any, **__: Any) -> Producer:
        return Producer(self)


@dataclass
class Consumer:
    broker: Broker
    waiting: list[Message]

    def batch_receive(self) -> list[Message]:
        found, self.waiting = self.waiting, []
        return found

    def acknowledge_cumulative(self, own: Id) -> None:
        self.broker.acknowledged = own.entry
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
    broker = Broker([Message(0, vectors(FRAUD, [1, 2, 3]), properties(1, 30))], refused=1)
    own, failures = Version(FRAUD, version(FRAUD)), list[BaseException]()
    thread = PartitionScoring(
        broker,  # type: ignore[arg-type]
        lambda: StreamScorer(FRAUD, lambda: own),
        FRAUD,
        "persistent://public/default/shop-fraud-features",
        "persistent://public/default/shop-fraud-predictions",
        "persistent://public/default/shop-dead-letters",
        Progress(),
        failures.append,
    )
    broker.on_acknowledged = thread.stop
    thread.run()
    assert failures == []
    assert broker.acknowledged == 0
    assert [decode_predictions(FRAUD, payload).ids for payload, _ in broker.sent] == [["e1", "e2", "e3"]]
