"""Where a message stands in its topic's partition."""

from __future__ import annotations

import struct
from typing import NamedTuple

import pulsar

_LAYOUT = struct.Struct(">QQI")


class Position(NamedTuple):
    """(ledger, entry, batch index): strictly increasing in a partition, compared as a tuple.

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
        """The position of a received message's id."""
        return cls(message_id.ledger_id(), message_id.entry_id(), message_id.batch_index())

    def to_bytes(self) -> bytes:
        """Twenty bytes which compare as the position does."""
        return _LAYOUT.pack(self.ledger + 1, self.entry + 1, self.batch + 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> Position:
        """The inverse of `to_bytes`."""
        ledger, entry, batch = _LAYOUT.unpack(data)
        return cls(ledger - 1, entry - 1, batch - 1)


#: Before every message of a partition.
START = Position(-1, -1, -1)
