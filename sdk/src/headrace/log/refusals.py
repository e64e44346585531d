"""Dead letters: what could not be processed, with its reason and position."""

from __future__ import annotations

import time

from headrace.definition import StreamDefinition
from headrace.errors import InvalidEvent
from headrace.log.position import Position
from headrace.log.produce import Producer
from headrace.log.topics import Topics
from headrace.v1.dead_letter_pb2 import DeadLetter


class Refusals:
    """Sends events to the dead-letter topic.

    Parameters
    ----------
    service
        Who refuses.
    """

    def __init__(self, producer: Producer, topics: Topics, service: str) -> None:
        self._producer = producer
        self._topics = topics
        self._service = service

    def refuse(
        self, stream: StreamDefinition, partition: int, reason: InvalidEvent, event: bytes, position: Position
    ) -> None:
        """Send one that stood on a partition of its stream; it is durable after the next `flush`."""
        letter = DeadLetter(
            stream=stream.name,
            field=reason.field,
            value=reason.value,
            expected=reason.expected,
            event=event,
            topic=self._topics.partition(stream, partition),
            position=position.to_bytes(),
            service=self._service,
            refused_at=time.time_ns() // 1_000,
        )
        self._producer.send(letter.SerializeToString(), properties={"stream": stream.name})

    def flush(self) -> None:
        """Wait until the broker has them all."""
        self._producer.flush()
