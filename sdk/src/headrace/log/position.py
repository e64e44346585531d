"""Positions of messages in a topic's partition."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import pulsar

from headrace.errors import Unreadable

_LAYOUT = struct.Struct(">QQI")


class Position(NamedTuple):
    """A position (ledger, entry, batch index): strictly increasing in a partition, compared as a tuple.

    An unbatched message has batch index -1.

    Examples
    --------
    >>> Position(1, 2, -1) < Position(1, 2, 0) < Position(1, 3, -1)
    True
    >>> Position.from_bytes(Position(1, 2, 7).to_bytes())
    Position(ledger=1, entry=2, batch=7)
    """

    ledger: int
    entry: int
    batch: int

    @classmethod
    def of(cls, message_id: pulsar.MessageId) -> Position:
        """Return the position of a received message's id."""
        return cls(message_id.ledger_id(), message_id.entry_id(), message_id.batch_index())

    def follows(self, before: Position) -> bool:
        """Return whether no message can be between two positions; at the end of a ledger, only the log knows.

        Examples
        --------
        >>> Position(1, 3, 0).follows(Position(1, 2, 7))
        True
        >>> Position(1, 3, 0).follows(Position(1, 1, -1))
        False
        """
        if before.ledger != self.ledger:
            return False
        follows = before.batch + 1 if before.entry == self.entry else 0
        return self.entry <= before.entry + 1 and self.batch <= follows

    def to_bytes(self) -> bytes:
        """Return twenty bytes that compare as the position does."""
        return _LAYOUT.pack(self.ledger + 1, self.entry + 1, self.batch + 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> Position:
        """Decode what `to_bytes` wrote.

        Raises
        ------
        Unreadable
            The bytes are not a position.
        """
        if len(data) != _LAYOUT.size:
            raise Unreadable("a position", f"it has {len(data)} bytes, not {_LAYOUT.size}")
        ledger, entry, batch = _LAYOUT.unpack(data)
        return cls(ledger - 1, entry - 1, batch - 1)


#: The position before every message of a partition.
START = Position(-1, -1, -1)

#: The tag of `batch_size` in Pulsar's `MessageIdData`; the client exposes it in no other way.
_BATCH_SIZE = 6 << 3


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
