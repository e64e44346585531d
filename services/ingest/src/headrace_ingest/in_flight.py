"""The bound on the bytes that are under way to one topic: callers enter first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque

from headrace.errors import Overloaded

#: Seconds after which a caller that was refused may try again.
_RETRY_S = 1.0


class InFlightLimit:
    """A bound of `size` bytes; when it is reached, callers wait for their turn, for at most `patience_s`.

    A request larger than the bound enters when nothing else is under way. As many bytes again may wait, from at most
    `waiting` callers; the next caller is refused at once. Use it from one event loop only.
    """

    def __init__(self, name: str, size: int, patience_s: float, waiting: int = 256) -> None:
        self._max_waiting = waiting
        self._waiting_bytes = 0
        self._name = name
        self._size = size
        self._patience_s = patience_s
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, size: int) -> None:
        """Take room for some bytes.

        Raises
        ------
        Overloaded
            There was no room in time.
        """
        if not self._waiting and self._fits(size):
            self._used += size
            return
        if self._waiting and (len(self._waiting) >= self._max_waiting or self._waiting_bytes + size > self._size):
            reason = f"{self._used:,} bytes wait for the broker, and {len(self._waiting):,} callers for their turn"
            raise Overloaded(f"{self._name}: {reason}; send again later", _RETRY_S)
        turn = (size, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        self._waiting_bytes += size
        try:
            async with asyncio.timeout(self._patience_s):
                await asyncio.shield(turn[1])
        except BaseException as error:
            self._give_up(turn)
            if isinstance(error, TimeoutError):
                detail = f"{self._used} bytes wait for the broker, and none got through in {self._patience_s:g} s"
                raise Overloaded(f"{self._name}: {detail}") from None
            raise

    def leave(self, size: int) -> None:
        """Give room back, and let waiting callers in."""
        self._used -= size
        self._admit()

    def _fits(self, size: int) -> bool:
        return self._used == 0 or self._used + size <= self._size

    def _give_up(self, turn: tuple[int, asyncio.Future[None]]) -> None:
        size, future = turn
        if future.done():  # its turn came in the same moment
            self._used -= size
        else:
            self._waiting.remove(turn)
            self._waiting_bytes -= size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, future = self._waiting.popleft()
            self._waiting_bytes -= size
            self._used += size
            future.set_result(None)
