"""Losses that the referee has read and not yet used."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from headrace.engine.arrays import Floats, Ints
from headrace.engine.referee.comparison import Pairs


class PendingLosses:
    """One candidate's losses in the order of seq, from the earliest one that a comparison may still need."""

    def __init__(self) -> None:
        self.seqs: Ints = np.zeros(0, np.int64)
        self.times: Ints = np.zeros(0, np.int64)
        self.losses: Floats = np.zeros(0)
        self._last = -1

    def add(self, seqs: Ints, times: Ints, losses: Floats) -> None:
        """Take the next losses; one that was read before is left out."""
        first = int(np.searchsorted(seqs, self._last, side="right"))
        self.seqs = np.concatenate((self.seqs, seqs[first:]))
        self.times = np.concatenate((self.times, times[first:]))
        self.losses = np.concatenate((self.losses, losses[first:]))
        self._last = max(self._last, int(seqs[-1]))

    def drop(self, until: int) -> None:
        """Forget the losses up to a seq."""
        first = int(np.searchsorted(self.seqs, until, side="right"))
        self.seqs, self.times, self.losses = self.seqs[first:], self.times[first:], self.losses[first:]

    def waiting(self, position: int) -> int:
        """Return the number of losses behind a position."""
        return len(self.seqs) - int(np.searchsorted(self.seqs, position, side="right"))


def pairs_of(
    champion: PendingLosses,
    challenger: PendingLosses,
    *,
    bound: Callable[[Floats], Floats],
    span: tuple[int, int | None],
) -> Pairs:
    """Return the examples after one seq up to another that both have, as far as both have been read.

    Parameters
    ----------
    champion, challenger
        The losses of each.
    bound
        Brings losses into their range.
    span
        The seq behind which, and the last one up to which, examples are returned; None: as far as they go.
    """
    after, until = span
    seqs, ours, theirs = np.intersect1d(champion.seqs, challenger.seqs, assume_unique=True, return_indices=True)
    first = int(np.searchsorted(seqs, after, side="right"))
    last = len(seqs) if until is None else int(np.searchsorted(seqs, until, side="right"))
    ours, theirs = ours[first:last], theirs[first:last]
    differences = bound(champion.losses[ours]) - bound(challenger.losses[theirs])
    return Pairs(seqs[first:last], champion.times[ours], differences)
