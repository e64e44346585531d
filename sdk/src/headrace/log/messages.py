"""Messages of the topics that headrace writes, opened; what is wrong goes to whoever answers for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import structlog

from headrace.errors import Unreadable
from headrace.log.batch import Batch
from headrace.log.position import Position
from headrace.wire.envelope import Envelope, read_envelope

_log = structlog.get_logger()

_Value = TypeVar("_Value")


class Message(NamedTuple):
    """A message whose header is right, and whose payload is the one that it was written for."""

    position: Position
    payload: bytes
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class WrongMessage:
    """A message that is none of its topic."""

    topic: str
    position: Position
    payload: bytes
    reason: Unreadable


def opened(batch: Batch, topic: str, wrong: Callable[[WrongMessage], None]) -> Iterator[Message]:
    """The messages of a batch, in order; those that are wrong are given to `wrong`."""
    what = f"a message of {topic.rpartition('/')[2]}"
    for position, payload, properties in zip(batch.positions, batch.payloads, batch.properties, strict=True):
        try:
            message = Message(position, payload, read_envelope(properties, payload, what))
        except Unreadable as error:
            wrong(WrongMessage(topic, position, payload, error))
        else:
            yield message


def decoded(
    messages: Iterable[Message], topic: str, decode: Callable[[Message], _Value], wrong: Callable[[WrongMessage], None]
) -> Iterator[tuple[Message, _Value]]:
    """The messages whose payload can be decoded, with what it is; those that cannot are given to `wrong`."""
    for message in messages:
        try:
            value = decode(message)
        except Unreadable as error:
            wrong(WrongMessage(topic, message.position, message.payload, error))
        else:
            yield message, value


def pass_over(wrong: WrongMessage) -> None:
    """Leave a wrong message out, and say so: for readers of what another process answers for."""
    _log.warning("message_unreadable", topic=wrong.topic, position=tuple(wrong.position), reason=str(wrong.reason))
