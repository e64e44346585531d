"""The one writer of dead letters: when it connects, what is durable when, and what a failure costs."""

from __future__ import annotations

import pytest

from headrace.definition import StreamDefinition
from headrace.errors import InvalidEvent, Unavailable, Unreadable
from headrace.runtime.pulsar.dead_letter_writer import DeadLetterWriter
from headrace.runtime.pulsar.messages import WrongMessage
from headrace.v1.dead_letter_pb2 import DeadLetter
from headrace.wire.position import Position
from headrace.wire.topics import Topics
from tests.support.fake_topic import Topic

_STREAM = StreamDefinition("asked", (), "id", "at", "id", 0, 0)


def wrong(entry: int) -> WrongMessage:
    return WrongMessage("features", Position(1, entry, -1), b"?%d" % entry, Unreadable("a message", "no vectors"))


def writer(broker: Topic) -> DeadLetterWriter:
    return DeadLetterWriter(broker, Topics("loop"), "scorer")  # type: ignore[arg-type]


def letters(broker: Topic) -> list[DeadLetter]:
    return [DeadLetter.FromString(payload) for payload in broker.taken]


def test_a_service_that_refuses_nothing_opens_no_producer() -> None:
    broker = Topic(most=1_000)
    writer(broker).flush()
    assert broker.opened == 0


def test_messages_are_durable_together_and_say_where_they_were() -> None:
    broker = Topic(most=1_000)
    made = writer(broker)
    made.refuse_messages("asked", "vectors of model m", wrong(1), wrong(2))
    made.refuse_messages("asked", "vectors of model m", wrong(3))
    assert (broker.opened, broker.closed, broker.flushes) == (1, 0, 2)
    first, *_ = written = letters(broker)
    assert [letter.position for letter in written] == [Position(1, entry, -1).to_bytes() for entry in (1, 2, 3)]
    assert (first.stream, first.topic, first.service, first.event) == ("asked", "features", "scorer", b"?1")
    assert (first.field, first.value, first.expected) == ("", "no vectors", "vectors of model m")
    assert first.refused_at > 0


def test_an_event_is_sent_without_waiting_until_the_writer_is_flushed() -> None:
    broker = Topic(most=1_000)
    made = writer(broker)
    made.refuse(_STREAM, 0, InvalidEvent("at", "soon", "a time"), b"{}", position=Position(1, 2, -1))
    assert broker.flushes == 0
    made.flush()
    assert broker.flushes == 1
    (letter,) = letters(broker)
    assert (letter.field, letter.value, letter.expected, letter.event) == ("at", "soon", "a time", b"{}")
    assert letter.topic == Topics("loop").partition(_STREAM, 0)


def test_after_a_failure_another_producer_writes_the_dead_letter_again() -> None:
    broker = Topic(most=1_000)
    made = writer(broker)
    made.refuse_messages("asked", "vectors", wrong(1))
    broker.away = True
    for _ in range(2):
        with pytest.raises(Unavailable):
            made.refuse_messages("asked", "vectors", wrong(2))
    broker.away = False
    made.refuse_messages("asked", "vectors", wrong(2))
    assert [letter.event for letter in letters(broker)] == [b"?1", b"?2"]
    assert (broker.opened, broker.closed) == (2, 1)
