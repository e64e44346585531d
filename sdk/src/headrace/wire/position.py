"""Positions of messages in a topic's partition."""

from __future__ import annotations

import struct
from typing import NamedTuple

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
