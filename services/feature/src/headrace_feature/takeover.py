"""The takeover of a source by a worker."""

from __future__ import annotations

from typing import NamedTuple

from headrace.wire.position import Position


class Takeover(NamedTuple):
    """The start of a worker's ownership of a source: its epoch, and the position to continue from."""

    epoch: int
    position: Position
