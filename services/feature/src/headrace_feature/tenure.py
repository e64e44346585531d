"""That a source is a worker's, for now."""

from __future__ import annotations

from typing import NamedTuple

from headrace.log.position import Position


class Tenure(NamedTuple):
    """A worker's time as the owner of a source: its epoch, and the position to go on from."""

    epoch: int
    position: Position
