"""Deduplication by the readers of output topics: invariant 1, on the reader's side."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.wire.position import START


class Accepted:
    """Progress of a reader of one output partition.

    Owners of a source partition write here one after another, and one that lost the partition may still be
    writing. Each output carries its owner's epoch and the position of the event that it was made from; the
    first one accepted wins, and repeats and outputs of older epochs are dropped.

    Outputs that a scorer logs for a request (no property `epoch`) are exempt: their id decides.

    Parameters
    ----------
    epoch, position
        Progress of an earlier reader; read it from `epoch` and `position` of that object.

    Examples
    --------
    >>> from headrace.wire.position import Position
    >>> accepted = Accepted()
    >>> a, b = Position(1, 1, -1).to_bytes(), Position(1, 2, -1).to_bytes()
    >>> accepted.take(1, [a, b])
    [0, 1]
    >>> accepted.take(1, [b])
    []
    >>> accepted.mark(2)
    True
    >>> accepted.take(1, [Position(1, 3, -1).to_bytes()])
    []
    """

    def __init__(self, epoch: int = 0, position: bytes = START.to_bytes()) -> None:
        self.epoch = epoch
        self.position = position

    def mark(self, epoch: int) -> bool:
        """Accept a new owner's epoch; return False if a newer owner is known already."""
        if epoch < self.epoch:
            return False
        self.epoch = epoch
        return True

    def take(self, epoch: int, positions: Sequence[bytes]) -> list[int]:
        """Return which of one message's outputs count, as indices in order.

        Parameters
        ----------
        positions
            Twenty bytes each (`Position.to_bytes`), which compare as positions do.
        """
        # An output may be seen before its marker, if the reader started after the marker.
        if not self.mark(epoch):
            return []
        indices: list[int] = []
        for index, position in enumerate(positions):
            if position > self.position:
                self.position = position
                indices.append(index)
        return indices
