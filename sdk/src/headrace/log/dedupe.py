"""What a reader of an output topic takes, and what it drops: invariant 1, seen from the reader."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.log.position import START


class Accepted:
    """How far a reader of one output partition has come.

    Owners of a source partition write here one after another, and one that lost it may still be
    writing. Each output carries its owner's epoch and the position of the event it was made from; the
    first one accepted wins, whatever comes again or from an older epoch is dropped.

    What a scorer logs for a request (no property `epoch`) stands outside of this: its id decides.

    Parameters
    ----------
    epoch, position
        Where an earlier reader stood; as read from `epoch` and `position` of this class.

    Examples
    --------
    >>> from headrace.log.position import Position
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
        """A new owner has announced itself; False where a newer one already has."""
        if epoch < self.epoch:
            return False
        self.epoch = epoch
        return True

    def take(self, epoch: int, positions: Sequence[bytes]) -> list[int]:
        """Which of one message's outputs count, as indices in order.

        Parameters
        ----------
        positions
            Twenty bytes each (`Position.to_bytes`), which compare as positions do.
        """
        # An output may be seen before its marker, where the reader started behind the marker.
        if not self.mark(epoch):
            return []
        taken: list[int] = []
        for index, position in enumerate(positions):
            if position > self.position:
                self.position = position
                taken.append(index)
        return taken
