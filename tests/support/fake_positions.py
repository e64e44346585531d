"""Scored positions in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.errors import Unavailable
from headrace.wire.position import START, Position


@dataclass
class Positions:
    """A store of positions; `writes` has all that were written."""

    found: dict[str, Position] = field(default_factory=dict)
    writes: list[Position] = field(default_factory=list)
    away: bool = False
    on_write: Callable[[Position], object] = lambda position: None

    def read(self, topic: str) -> Position:
        self._check()
        return self.found.get(topic, START)

    def write(self, topic: str, position: Position) -> None:
        self._check()
        self.found[topic] = position
        self.writes.append(position)
        self.on_write(position)

    def _check(self) -> None:
        if self.away:
            raise Unavailable("store")
