"""Opening the messages of topics that headrace writes; invalid ones go to a handler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import structlog

from headrace.errors import Unreadable
from headrace.runtime.pulsar.batch import Batch
from headrace.wire.envelope import read_envelope
from headrace.wire.message import Message
from headrace.wire.position import Position

_log = structlog.get_logger()

_Value = TypeVar("_Value")

#: How far the clocks of a store, which gives out epochs in ms, and of a publisher may be apart, in ms.
_APART_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class WrongMessage:
    """A message that is not valid on its topic."""

    topic: str
    position: Position
    payload: bytes
    reason: Unreadable


def opened(batch: Batch, topic: str, report: Callable[[WrongMessage], None]) -> Iterator[Message]:
    """Yield the messages of a batch, in order; invalid ones are given to `report`."""
    subject = f"a message of {topic.rpartition('/')[2]}"
    columns = (batch.positions, batch.payloads, batch.properties, batch.published)
    for position, payload, properties, published in zip(*columns, strict=True):
        try:
            message = Message(position, payload, read_envelope(properties, payload, subject))
            _check_epoch(subject, message.envelope.epoch, published)
        except Unreadable as error:
            report(WrongMessage(topic, position, payload, error))
        else:
            yield message


def _check_epoch(subject: str, epoch: int | None, published: int) -> None:
    """Refuse an epoch that no store has given out: readers would drop everything of the real owner after it.

    Raises
    ------
    Unreadable
        The epoch is later than the time of publication (µs).
    """
    latest = published // 1_000 + _APART_MS
    if epoch is not None and epoch > latest:
        raise Unreadable(subject, f"its epoch is {epoch}, and none beyond {latest} was given out when it was published")


def decoded(
    messages: Iterable[Message], topic: str, decode: Callable[[Message], _Value], report: Callable[[WrongMessage], None]
) -> Iterator[tuple[Message, _Value]]:
    """Yield the messages whose payload can be decoded, with the decoded value; the rest is given to `report`."""
    for message in messages:
        try:
            value = decode(message)
        except Unreadable as error:
            report(WrongMessage(topic, message.position, message.payload, error))
        else:
            yield message, value


def pass_over(message: WrongMessage) -> None:
    """Skip an invalid message with a warning: for readers of topics that another process is responsible for."""
    _log.warning(
        "message_unreadable", topic=message.topic, position=tuple(message.position), reason=str(message.reason)
    )
