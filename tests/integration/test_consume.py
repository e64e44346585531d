"""Consume a partition on a real broker: in order, nothing twice, nothing left out."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pulsar
import pytest

from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.consumer import PartitionConsumer
from headrace.runtime.pulsar.log_reader import LogReader, read_whole
from headrace.runtime.pulsar.producer import Producer
from headrace.wire.position import START, Position
from tests.brokers import Place
from tests.deadline import until


@pytest.fixture(scope="module")
def client(module_place: Place) -> Iterator[pulsar.Client]:
    client = pulsar.Client(module_place.url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
    yield client
    client.close()


@pytest.fixture
def topic(client: pulsar.Client, module_place: Place, request: pytest.FixtureRequest) -> str:
    name = f"persistent://{module_place.namespace}/{request.node.originalname}"
    producer = Producer(client, name, batching=True)
    for index in range(100):
        producer.send(str(index).encode())
    producer.flush()
    producer.close()
    return name


def numbers(batch: Batch) -> list[int]:
    return [int(payload) for payload in batch.payloads]


def read_all(consumer: PartitionConsumer, found: list[int], last: int = 99) -> list[int]:
    def more() -> list[int]:
        found.extend(numbers(consumer.receive()))
        return found

    return until(more, lambda numbers: bool(numbers) and numbers[-1] == last)


def first_batch(consumer: PartitionConsumer) -> Batch:
    return until(consumer.receive)


def position_of(client: pulsar.Client, topic: str, index: int) -> Position:
    return until(lambda: LogReader(client, topic).receive(100), lambda batch: len(batch) == 100).positions[index]


def test_a_message_says_when_it_was_published_whoever_reads_it(client: pulsar.Client, topic: str) -> None:
    now = time.time_ns() // 1_000
    given = first_batch(PartitionConsumer(client, topic, "s"))
    read = until(lambda: LogReader(client, topic).receive(100), lambda batch: len(batch) == 100)
    assert given.published == read.published[: len(given)]
    assert all(now - 60_000_000 < at < now + 1_000 for at in read.published)


def test_a_new_owner_reads_from_the_start(client: pulsar.Client, topic: str) -> None:
    consumer = PartitionConsumer(client, topic, "s", max_messages=30)
    found = numbers(consumer.start_after(START, first_batch(consumer)))
    assert read_all(consumer, found) == list(range(100))


def test_what_the_state_has_is_not_read_again(client: pulsar.Client, topic: str) -> None:
    consumer = PartitionConsumer(client, topic, "s", max_messages=30)
    found = numbers(consumer.start_after(position_of(client, topic, 41), first_batch(consumer)))
    assert read_all(consumer, found) == list(range(42, 100))


def test_a_cursor_ahead_of_the_state_leaves_no_gap(client: pulsar.Client, topic: str) -> None:
    former = PartitionConsumer(client, topic, "s", max_messages=100)
    read_all(former, numbers(former.start_after(START, first_batch(former))))
    former.ack(position_of(client, topic, 99))
    former.close()
    producer = Producer(client, topic)
    producer.send(b"100")
    producer.flush()
    consumer = PartitionConsumer(client, topic, "s", max_messages=30)
    found = numbers(consumer.start_after(position_of(client, topic, 4), first_batch(consumer)))
    assert read_all(consumer, found, last=100) == list(range(5, 101))


def test_what_is_acknowledged_is_not_delivered_again(client: pulsar.Client, topic: str) -> None:
    former = PartitionConsumer(client, topic, "s", max_messages=100)
    read_all(former, numbers(former.start_after(START, first_batch(former))))
    former.ack(position_of(client, topic, 99))
    former.close()
    producer = Producer(client, topic)
    producer.send(b"100")
    producer.flush()
    assert numbers(first_batch(PartitionConsumer(client, topic, "s"))) == [100]


@pytest.mark.parametrize("size", [1, 7])
def test_a_log_ends_for_who_has_read_it(client: pulsar.Client, module_place: Place, size: int) -> None:
    topic = f"persistent://{module_place.namespace}/ends-{size}-partition-0"
    producer = Producer(client, topic, batching=True)
    for _ in range(3):
        for index in range(size):
            producer.send(b"%d" % index)
        producer.flush()
    producer.close()
    positions = [position for batch in read_whole(client, topic) for position in batch.positions]
    assert len(positions) == 3 * size
    ends = positions[size - 1 :: size]
    assert [LogReader(client, topic, position).more() for position in ends] == [True, True, False]


def test_who_acknowledged_amid_the_first_batch_subscribes_again(client: pulsar.Client, topic: str) -> None:
    former = PartitionConsumer(client, topic, "s", max_messages=30)
    read_all(former, numbers(former.start_after(START, first_batch(former))))
    at = position_of(client, topic, 41)
    former.ack(at)
    former.close()
    for _ in range(2):
        consumer = PartitionConsumer(client, topic, "s", max_messages=30)
        assert read_all(consumer, numbers(consumer.start_after(at, first_batch(consumer)))) == list(range(42, 100))
        consumer.ack(at)
        consumer.close()
