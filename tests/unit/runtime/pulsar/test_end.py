"""The end of a log, and who can report it: only then does silence mean that nothing was sent."""

from __future__ import annotations

from dataclasses import dataclass

import pulsar
import pytest

from headrace.runtime.pulsar.consumer import PartitionConsumer
from headrace.runtime.pulsar.message_ids import ends_its_batch
from headrace.wire.position import START, Position
from tests.support.fake_pulsar import Broker, Clock, Id, Message, Subscribed


@dataclass
class Telling(Subscribed):
    """A consumer that fails with an error, if there is one, when it is asked for the last message."""

    error: type[Exception] | None = None

    def get_last_message_id(self) -> Id:
        if self.error is not None:
            raise self.error
        return super().get_last_message_id()


@pytest.mark.parametrize(
    ("last", "error", "end"),
    [
        (0, None, Position(1, 0, -1)),
        (2, None, None),
        (-1, None, START),
        (0, pulsar.UnknownError, START),
        (0, pulsar.NotConnected, None),
        (0, pulsar.Timeout, None),
    ],
    ids=["all received", "more to come", "empty", "empty, embedded", "broker away", "no answer"],
)
def test_an_end_is_one_only_if_the_broker_says_so(
    last: int, error: type[Exception] | None, end: Position | None
) -> None:
    consumer = PartitionConsumer(Broker([Telling([[Message(0)]], last, error=error)]), "t", "s", clock=Clock())
    consumer.start_after(Position(1, 0, -1), consumer.receive())
    assert consumer.end() == end


def test_who_owns_nothing_is_told_where_the_log_ends() -> None:
    consumer = PartitionConsumer(Broker([Subscribed([], last=2)]), "t", "s", clock=Clock())
    assert consumer.end() == Position(1, 2, -1)


@pytest.mark.parametrize(("received", "end"), [(1, None), (2, Position(1, 0, -1))])
def test_a_part_of_a_batch_is_not_the_end(received: int, end: Position | None) -> None:
    messages = [Message(0, batch=index, size=2) for index in range(received)]
    consumer = PartitionConsumer(Broker([Telling([messages], last=0)]), "t", "s", clock=Clock())
    consumer.start_here(consumer.receive())
    assert consumer.end() == end


def test_what_is_missing_in_a_batch_is_read_from_the_log() -> None:
    first, second, third = (Message(0, batch=index, size=3) for index in range(3))
    broker = Broker([Telling([[first], [third]], last=0)], log=[second, third])
    consumer = PartitionConsumer(broker, "t", "s", clock=Clock())
    consumer.start_here(consumer.receive())
    assert [len(consumer.receive()) for _ in range(3)] == [0, 2, 0]


def received(consumer: PartitionConsumer, times: int) -> list[tuple[int, int]]:
    return [position[:2] for _ in range(times) for position in consumer.receive().positions]


def test_what_a_broker_passes_over_at_the_end_of_a_ledger_is_read_from_the_log() -> None:
    first, passed, further = Message(0), Message(1), [Message(0, ledger=2), Message(1, ledger=2)]
    broker = Broker([Telling([[first], further], last=1)], log=[passed, *further])
    consumer = PartitionConsumer(broker, "t", "s", clock=Clock())
    consumer.start_here(consumer.receive())
    assert received(consumer, 3) == [(1, 1), (2, 0), (2, 1)]


def test_what_is_delivered_behind_messages_that_follow_it_counts() -> None:
    delivered = [Message(0, ledger=2), Message(1), Message(2), Message(1)]
    broker = Broker([Telling([[Message(0)], delivered], last=1)], log=[Message(1), Message(2), Message(0, ledger=2)])
    consumer = PartitionConsumer(broker, "t", "s", clock=Clock())
    consumer.start_here(consumer.receive())
    assert received(consumer, 4) == [(1, 1), (1, 2), (2, 0)]


def test_a_first_batch_is_put_in_order() -> None:
    consumer = PartitionConsumer(Broker([Telling([[Message(2), Message(1)]], last=2)]), "t", "s", clock=Clock())
    assert [position.entry for position in consumer.start_here(consumer.receive()).positions] == [1, 2]


@pytest.mark.parametrize(
    ("last", "ends"), [("080010012002300a", False), ("080010022009300a", True), ("08001001", True)]
)
def test_an_id_says_whether_its_batch_goes_on(last: str, ends: bool) -> None:
    assert ends_its_batch(pulsar.MessageId.deserialize(bytes.fromhex(last))) == ends
