"""The position up to which a partition is scored, as scorers tell each other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from headrace.errors import Unavailable
from headrace.wire.position import START, Position
from headrace_scorer.ports import PositionStore

#: Seconds between two notes while the position changes; other scorers look after two seconds at the earliest.
_PAUSE_S = 1.0

#: Seconds after which an unchanged position is noted again: the store may have been emptied.
_RENEWAL_S = 30.0


class ScoredPosition:
    """The position up to which one partition is scored, in the store.

    It only prevents that two scorers do the same work: without the store, scoring continues.
    """

    def __init__(self, store: PositionStore, topic: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._topic = topic
        self._clock = clock
        self._noted = START
        self._tried_at = -math.inf

    def read(self) -> Position | None:
        """Return the position that any scorer has noted; None if the store does not answer."""
        try:
            return self._store.read(self._topic)
        except Unavailable:
            return None

    def note(self, position: Position) -> None:
        """Note a position, unless one was noted a moment ago: call it again, also if the position stays the same."""
        pause = _RENEWAL_S if position == self._noted else _PAUSE_S
        now = self._clock()
        if now - self._tried_at < pause:
            return
        self._tried_at = now
        try:
            self._store.write(self._topic, position)
        except Unavailable:
            return
        self._noted = position
