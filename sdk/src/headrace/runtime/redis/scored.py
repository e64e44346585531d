"""How far the features topics are scored, whichever scorer does it."""

from __future__ import annotations

import redis

from headrace.errors import Unreadable
from headrace.runtime.redis.connection import store_errors
from headrace.wire.frame import Kind, seal, unseal
from headrace.wire.position import START, Position


class ScoredPositions:
    """The last position of each partition of a features topic whose predictions are durable.

    They say nothing about what must be scored, which the broker's cursor decides, but whether another scorer does it.
    """

    def __init__(self, store: redis.Redis, loop: str) -> None:
        self._store = store
        self._key = f"headrace:{loop}:scored"

    def read(self, topic: str) -> Position:
        """Return the position of a physical topic, `START` if there is none that can be read.

        Raises
        ------
        Unavailable
            The store does not answer.
        """
        try:
            with store_errors():
                data = self._store.hget(self._key, topic)
            return START if data is None else _decode(data)  # type: ignore[arg-type]
        except Unreadable:
            return START

    def write(self, topic: str, position: Position) -> None:
        """Note that everything up to a position is scored.

        Raises
        ------
        Unavailable
            The store does not answer.
        Unreadable
            The key holds something else.
        """
        with store_errors():
            self._store.hset(self._key, topic, seal(Kind.POSITION, position.to_bytes()))


def _decode(data: bytes) -> Position:
    return Position.from_bytes(unseal(Kind.POSITION, data, "a scored position"))
