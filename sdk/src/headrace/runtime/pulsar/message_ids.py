"""Ids of messages as Pulsar's client gives them."""

from __future__ import annotations

from collections.abc import Iterator

import pulsar

from headrace.wire.position import Position

#: The tag of `batch_size` in Pulsar's `MessageIdData`; the client exposes it in no other way.
_BATCH_SIZE = 6 << 3


def position_of(message_id: pulsar.MessageId) -> Position:
    """Return the position of a received message's id."""
    return Position(message_id.ledger_id(), message_id.entry_id(), message_id.batch_index())


def ends_its_batch(message_id: pulsar.MessageId) -> bool:
    """Return whether the received message with this id is the last one of its entry.

    The embedded broker names the last entry of a log without the messages in it. A client that has received one of
    them may then call it the end, while the others are still on their way.
    """
    numbers = list(_varints(message_id.serialize()))
    fields = dict(zip(numbers[::2], numbers[1::2], strict=False))
    return int(message_id.batch_index()) + 1 >= fields.get(_BATCH_SIZE, 0)


def _varints(data: bytes) -> Iterator[int]:
    """Yield the numbers of a protobuf message that has no other fields, each one after its tag."""
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0
