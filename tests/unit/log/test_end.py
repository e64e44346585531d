"""Where a log ends, and who can say so: only then does silence mean that nobody speaks."""

from __future__ import annotations

from dataclasses import dataclass

import pulsar
import pytest

from headrace.log.consume import PartitionConsumer
from headrace.log.position import START, Position
from tests.unit.log.test_silence import Broker, Clock, Id, Message, Subscribed


@dataclass
class Telling(Subscribed):
    """Fails with an error, where there is one, when it is asked for the last message."""

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
