"""A worker's ownership of a source."""

from __future__ import annotations

from typing import NamedTuple

from headrace.wire.position import Position


class Tenure(NamedTuple):
    """A worker's time as the owner of a source: its epoch, and the position to continue from."""

    epoch: int
    position: Position
