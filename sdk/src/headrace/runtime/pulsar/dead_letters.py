"""Reading the dead-letter topic: the dead letters, and which of them were retried.

A retried dead letter is followed by a *mark*: a message with its position and the outcome. A dead letter may be written
twice, if its writer died before saving that it was written; the second is recognized by the position of its event.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import pulsar
from google.protobuf.message import DecodeError

from headrace.errors import Unavailable, Unreadable
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.connection import partitions
from headrace.runtime.pulsar.dead_letter_writer import MAX_EVENT
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.pulsar.producer import temporary_producer
from headrace.v1.dead_letter_pb2 import DeadLetter
from headrace.wire.envelope import Envelope, has_header, read_envelope
from headrace.wire.message import Message
from headrace.wire.position import Position
from headrace.wire.topics import Topics

#: Seconds without a message, although the log has more, after which the broker counts as unavailable.
_PATIENCE = 30.0


class Outcome(StrEnum):
    """Outcome of a retry."""

    TAKEN = "taken"
    REFUSED = "refused"


@dataclass(frozen=True)
class StoredDeadLetter:
    """A dead letter, as read from its topic.

    Attributes
    ----------
    position
        Its own position, not that of its event.
    retried
        Outcome of the last retry; None if it was not retried.
    """

    position: Position
    message: DeadLetter
    retried: Outcome | None = None

    @property
    def is_cut(self) -> bool:
        """Whether it holds only the beginning of its event."""
        return len(self.message.event) >= MAX_EVENT

    @property
    def stood(self) -> Position | None:
        """Position of its event; None if the event was refused before it reached its topic."""
        return Position.from_bytes(self.message.position) if self.message.position else None

    def is_event(self, topics: Topics) -> bool:
        """Return whether it holds a whole event of a stream, which can be sent again."""
        stream, topic = self.message.stream, self.message.topic
        base = topics.stream(stream)
        return bool(stream) and not self.is_cut and (topic in ("", base) or topic.startswith(f"{base}-partition-"))


class DeadLetterLog:
    """The dead letters of a loop.

    Parameters
    ----------
    topics
        Topics of the loop.
    """

    def __init__(self, client: pulsar.Client, topics: Topics) -> None:
        self.topics = topics
        self._client = client

    def read(self) -> Iterator[StoredDeadLetter]:
        """Yield all dead letters that the broker still has, in order.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        marks: dict[Position, Outcome] = {}
        # A mark comes after its dead letter. Read the topic twice instead of holding it in memory.
        for message in self._messages():
            marks |= _mark(message)
        seen: set[tuple[str, bytes]] = set()
        for message in self._messages():
            if message.envelope.retried or not message.payload:
                continue
            letter = read_dead_letter(message.payload)
            origin = (letter.topic, letter.position)
            if letter.position and origin in seen:
                continue
            seen.add(origin)
            yield StoredDeadLetter(message.position, letter, marks.get(message.position))

    def mark(self, outcomes: Mapping[Position, Outcome]) -> None:
        """Record the outcomes of retries durably.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        with temporary_producer(self._client, self.topics.dead_letters) as producer:
            for position, outcome in outcomes.items():
                mark = Envelope(retried=format_position(position), outcome=outcome)
                producer.send(b"", properties=mark.properties(b""))

    def _messages(self) -> Iterator[Message]:
        for physical in partitions(self._client, self.topics.dead_letters):
            reader = LogReader(self._client, physical)
            try:
                for batch in _until_its_end(reader):
                    yield from map(_open, batch.positions, batch.payloads, batch.properties)
            finally:
                reader.close()


def _until_its_end(reader: LogReader) -> Iterator[Batch]:
    heard_at = time.monotonic()
    while True:
        batch = reader.receive(1_000)
        if batch:
            yield batch
            heard_at = time.monotonic()
        elif not reader.more():
            return
        elif time.monotonic() - heard_at > _PATIENCE:
            raise Unavailable("broker: the dead-letter topic has more messages, but none arrives")


def _open(position: Position, payload: bytes, properties: Mapping[str, str]) -> Message:
    """Decode a message; one without a header is returned as it is, a damaged one as a dead letter that says so."""
    if not has_header(properties):
        return Message(position, payload, Envelope())
    try:
        return Message(position, payload, read_envelope(properties, payload, "a dead letter"))
    except Unreadable as error:
        letter = DeadLetter(value=error.problem, expected="a dead letter", event=payload)
        return Message(position, letter.SerializeToString(), Envelope())


def _mark(message: Message) -> dict[Position, Outcome]:
    """Return the position and outcome in a mark; empty if the message is not a mark."""
    try:
        return {parse_position(message.envelope.retried): Outcome(message.envelope.outcome)}
    except ValueError:
        return {}


def read_dead_letter(payload: bytes) -> DeadLetter:
    """Decode a dead letter; keep what is readable if it or its position is damaged."""
    try:
        letter = DeadLetter.FromString(payload)
    except DecodeError:
        return DeadLetter(value="what somebody else wrote", expected="a dead letter", event=payload)
    try:
        Position.from_bytes(letter.position)
    except Unreadable:
        letter.position = b""
    return letter


def format_position(position: Position) -> str:
    """Format a position as it is shown and entered.

    Examples
    --------
    >>> format_position(Position(3, 12, 0))
    '3:12:0'
    """
    return ":".join(map(str, position))


def parse_position(text: str) -> Position:
    """Parse a position as it is shown.

    Raises
    ------
    ValueError
        The text is not a position.

    Examples
    --------
    >>> parse_position("3:12:-1")
    Position(ledger=3, entry=12, batch=-1)
    """
    ledger, entry, batch = map(int, text.split(":"))
    return Position(ledger, entry, batch)
