"""How far the features topics are scored, whichever scorer does it."""

from __future__ import annotations

import redis

from headrace.errors import Unreadable
from headrace.runtime.redis.connection import is_wrong_type, store_errors
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

        A key of another type is replaced: scorers write their positions again.

        Raises
        ------
        Unavailable
            The store does not answer.
        """
        data = seal(Kind.POSITION, position.to_bytes())
        with store_errors():
            try:
                self._store.hset(self._key, topic, data)
            except redis.ResponseError as error:
                if not is_wrong_type(error):
                    raise
                self._store.delete(self._key)
                self._store.hset(self._key, topic, data)


def _decode(data: bytes) -> Position:
    return Position.from_bytes(unseal(Kind.POSITION, data, "a scored position"))
