"""Dead letters: messages that could not be processed, with reason and position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pulsar

from headrace.definition import StreamDefinition
from headrace.errors import HeadraceError, InvalidEvent
from headrace.runtime.clock import wall_clock
from headrace.runtime.pulsar.messages import WrongMessage
from headrace.runtime.pulsar.producer import Producer
from headrace.v1.dead_letter_pb2 import DeadLetter
from headrace.wire.envelope import Envelope
from headrace.wire.position import Position
from headrace.wire.topics import Topics

#: Maximum number of bytes of a message that its dead letter keeps, so that the broker accepts it. A message that was
#: cut is still on its topic, but cannot be retried.
MAX_EVENT = 4 * 2**20

#: Maximum number of characters of a reason, which may repeat a part of the message.
_MAX_TEXT = 4_096


class DeadLetterWriter:
    """The dead letters of one service, written by one thread.

    It opens its producer with the first dead letter, and the client closes it. A producer that failed is replaced, so
    that a repeated dead letter does not depend on it. Call `flush` before the position of a refused message is saved or
    acknowledged.

    Parameters
    ----------
    service
        Name of the service that refuses.
    """

    def __init__(self, client: pulsar.Client, topics: Topics, service: str) -> None:
        self._client = client
        self._topics = topics
        self._service = service
        self._producer: Producer | None = None

    def refuse(
        self, stream: StreamDefinition, partition: int, reason: InvalidEvent, payload: bytes, *, position: Position
    ) -> None:
        """Send an event of a partition of its stream; it is durable after the next `flush`."""
        letter = DeadLetter(
            stream=stream.name,
            field=reason.field,
            value=reason.value,
            expected=reason.expected,
            topic=self._topics.partition(stream, partition),
            position=position.to_bytes(),
        )
        self._send(letter, payload)

    def refuse_messages(self, stream: str, expected: str, *messages: WrongMessage) -> None:
        """Write messages of a topic that only headrace writes, durably.

        Parameters
        ----------
        stream
            The stream that such messages are made from.
        expected
            Description of the messages that belong on the topic.
        """
        for message in messages:
            letter = DeadLetter(
                stream=stream,
                value=message.reason.problem,
                expected=expected,
                topic=message.topic,
                position=message.position.to_bytes(),
            )
            self._send(letter, message.payload)
        self.flush()

    def flush(self) -> None:
        """Wait until the broker has all dead letters.

        Raises
        ------
        TooLarge
            The broker never accepts one of them.
        Unavailable
            A dead letter did not arrive.
        """
        if self._producer is not None:
            with self._replacing_after_failure():
                self._producer.flush()

    def _send(self, letter: DeadLetter, event: bytes) -> None:
        letter.service = self._service
        letter.refused_at = wall_clock()
        payload, properties = dead_letter_message(letter, event)
        if self._producer is None:
            self._producer = Producer(self._client, self._topics.dead_letters)
        with self._replacing_after_failure():
            self._producer.send(payload, properties=properties)

    @contextmanager
    def _replacing_after_failure(self) -> Iterator[None]:
        try:
            yield
        except HeadraceError:
            producer, self._producer = self._producer, None
            if producer is not None:
                with suppress(pulsar.PulsarException):
                    producer.close()
            raise


def dead_letter_message(letter: DeadLetter, event: bytes) -> tuple[bytes, dict[str, str]]:
    """Return the message of a dead letter; its texts and its event are cut if they are too large for the broker."""
    letter.value, letter.expected = letter.value[:_MAX_TEXT], letter.expected[:_MAX_TEXT]
    letter.event = event[:MAX_EVENT]
    if len(event) > MAX_EVENT:
        letter.expected = f"{letter.expected} (the letter holds the first {MAX_EVENT} of its {len(event)} bytes)"
    payload = letter.SerializeToString()
    return payload, Envelope(stream=letter.stream).properties(payload)


class DeadLetterProducer(Producer):
    """Sends dead letters as `dead_letter_message` encodes them, keyed by their stream: for a writer with a queue."""

    def send_all(
        self, payloads: Sequence[bytes], keys: Sequence[str], properties: Sequence[dict[str, str]] = ()
    ) -> None:
        """See `Producer.send_all`; each message has its own header."""
        pairs = zip(payloads, keys, strict=True)
        super().send_all(payloads, keys, [Envelope(stream=key).properties(payload) for payload, key in pairs])
