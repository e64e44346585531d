"""Waiting for the decisions of partition owners on the events of a call."""

from __future__ import annotations

import asyncio
import time

from headrace.definition import LoopDefinition
from headrace.errors import Unavailable
from headrace.runtime.redis.decisions import DecisionBoard, Tally

#: Seconds between two reads of the board: short at first, as most calls are small.
_FIRST_LOOK, _LOOK = 0.02, 0.25


class StoredDecisions:
    """The handlers' `Decisions`, backed by the loop's store.

    Parameters
    ----------
    patience_s
        Seconds to wait while no further event is decided: the feature service is away, or busy with earlier events.
    """

    def __init__(self, board: DecisionBoard, loop: LoopDefinition, patience_s: float) -> None:
        self._board = board
        self._loop = loop
        self._patience_s = patience_s

    async def wait(self, call: str, stream: str, events: int) -> Tally:
        """Wait for decisions on `events` events; return fewer if no further one comes within `patience_s`."""
        definition = self._loop.stream(stream)
        tally, pause = Tally(), _FIRST_LOOK
        last_change = time.monotonic()
        while True:
            try:
                latest = await asyncio.to_thread(self._board.read, definition, call)
            except Unavailable:
                latest = tally
            if latest.total != tally.total:
                tally, last_change = latest, time.monotonic()
            if tally.total >= events or time.monotonic() - last_change > self._patience_s:
                return tally
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LOOK)
