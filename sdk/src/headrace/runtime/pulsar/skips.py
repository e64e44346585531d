"""Skipped examples: those on which a model's learner fails.

They are recorded on a topic, so that every reader of the model's log skips the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pulsar
import structlog

from headrace.errors import Unreadable
from headrace.runtime.clock import wall_clock
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.pulsar.producer import temporary_producer
from headrace.wire.document import Document
from headrace.wire.position import Position

_log = structlog.get_logger()

#: Number of messages to prefetch: there are few.
_QUEUE = 100


class Skip(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A skipped example.

    Attributes
    ----------
    model
        The model whose log contains it, by the name of its state.
    question
        The place of its question in that log.
    id
        The id of its event.
    reason
        The exception that the learner raised.
    skipped_at
        The time when it was recorded (wall clock, µs).
    """

    model: str
    question: int
    id: str
    reason: str = ""
    skipped_at: int = msgspec.field(default_factory=wall_clock)


_SKIP = Document[Skip]("skip", Skip)


def encode_skip(skip: Skip) -> bytes:
    """Encode a skip as a message of the topic."""
    return _SKIP.encode(skip)


def decode_skip(data: bytes) -> Skip:
    """Decode a message of the topic.

    Raises
    ------
    Unreadable
        It is not a skip, or one of a newer format.
    """
    return _SKIP.decode(data, "a skip")


def write_skip(client: pulsar.Client, topic: str, skip: Skip) -> None:
    """Record durably that a model skips an example.

    Raises
    ------
    Unavailable
        The broker does not answer.
    """
    with temporary_producer(client, topic) as producer:
        producer.send(encode_skip(skip), key=f"{skip.model}:{skip.question}")


def skips_in(payloads: Iterable[bytes], positions: Iterable[Position], model: str) -> list[Skip]:
    """Decode the skips of a model; invalid messages are logged and ignored."""
    skips = []
    for payload, position in zip(payloads, positions, strict=True):
        try:
            skip = decode_skip(payload)
        except Unreadable as error:
            _log.warning("skip_unreadable", position=tuple(position), reason=str(error))
            continue
        if skip.model == model:
            skips.append(skip)
    return skips


class SkipReader:
    """Reads which examples a model skips, from the start of the topic, and then follows the topic.

    Parameters
    ----------
    topic
        The topic of the loop's skips.
    model
        The model.
    """

    def __init__(self, client: pulsar.Client, topic: str, model: str) -> None:
        self._model = model
        self._reader = LogReader(client, topic, queue=_QUEUE)
        self._questions: set[int] = set()

    def read(self, wait_ms: int = 100) -> frozenset[int]:
        """Return the questions skipped so far, by their place in the log; wait at most `wait_ms` for further ones.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        while True:
            batch = self._reader.receive(_QUEUE, timeout_ms=wait_ms)
            self._questions |= {skip.question for skip in skips_in(batch.payloads, batch.positions, self._model)}
            if not batch and not self._reader.more():
                return frozenset(self._questions)

    def close(self) -> None:
        """Close the reader."""
        self._reader.close()
