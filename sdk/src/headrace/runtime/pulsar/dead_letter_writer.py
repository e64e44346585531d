"""Dead letters: messages that could not be processed, with reason and position."""

from __future__ import annotations

import time
from collections.abc import Sequence

from headrace.definition import StreamDefinition
from headrace.errors import InvalidEvent
from headrace.runtime.pulsar.messages import WrongMessage
from headrace.runtime.pulsar.producer import Producer
from headrace.v1.dead_letter_pb2 import DeadLetter
from headrace.wire.envelope import Envelope
from headrace.wire.position import Position
from headrace.wire.topics import Topics

#: Maximum number of bytes that a letter keeps of a message: the message is on its topic, and a letter with the
#: whole message would be too large for the broker. A message that is cut cannot be sent again from its letter.
MAX_EVENT = 4 * 2**20

#: Maximum number of characters of a reason, which may repeat a part of the message.
_MAX_TEXT = 4_096


class Refusals:
    """Sends events to the dead-letter topic.

    Parameters
    ----------
    service
        Name of the service that refuses.
    """

    def __init__(self, producer: Producer, topics: Topics, service: str) -> None:
        self._producer = producer
        self._topics = topics
        self._service = service

    def refuse(
        self, stream: StreamDefinition, partition: int, reason: InvalidEvent, payload: bytes, *, position: Position
    ) -> None:
        """Send an event of a partition of its stream; it is durable after the next `flush`."""
        topic = self._topics.partition(stream, partition)
        self._send(
            stream.name, reason.field, reason.value, reason.expected, event=payload, topic=topic, position=position
        )

    def refuse_message(self, stream: str, message: WrongMessage, expected: str) -> None:
        """Send a message of a topic that only headrace writes; it is durable after the next `flush`.

        Parameters
        ----------
        stream
            The stream that such messages are made from.
        expected
            Description of the messages that belong on the topic.
        """
        self._send(
            stream,
            "",
            message.reason.problem,
            expected,
            event=message.payload,
            topic=message.topic,
            position=message.position,
        )

    def _send(
        self, stream: str, field: str, value: str, expected: str, *, event: bytes, topic: str, position: Position
    ) -> None:
        letter = DeadLetter(
            stream=stream,
            field=field,
            value=value[:_MAX_TEXT],
            expected=expected[:_MAX_TEXT],
            topic=topic,
            position=position.to_bytes(),
            service=self._service,
            refused_at=time.time_ns() // 1_000,
        )
        payload, properties = letter_message(letter, event)
        self._producer.send(payload, properties=properties)

    def flush(self) -> None:
        """Wait until the broker has all letters."""
        self._producer.flush()


def letter_message(letter: DeadLetter, event: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the message that holds a letter on an event, cut if it would be too large for the broker."""
    letter.event = event[:MAX_EVENT]
    if len(event) > MAX_EVENT:
        letter.expected = f"{letter.expected} (the letter holds the first {MAX_EVENT} of its {len(event)} bytes)"
    payload = letter.SerializeToString()
    return payload, Envelope(stream=letter.stream).properties(payload)


class LetterProducer(Producer):
    """Sends letters that are keyed by their stream."""

    def send_all(
        self, payloads: Sequence[bytes], keys: Sequence[str], properties: Sequence[dict[str, str]] = ()
    ) -> None:
        """See `Producer.send_all`; each message has its own header."""
        pairs = zip(payloads, keys, strict=True)
        super().send_all(payloads, keys, [Envelope(stream=key).properties(payload) for payload, key in pairs])
