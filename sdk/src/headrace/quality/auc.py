"""The area under the ROC curve: exact over a window, and in bounded memory over a whole stream."""

from __future__ import annotations

import numpy as np

from headrace.quality.arithmetic import Bools, Floats, Ints

# A score's bin is its float's exponent and the first 10 bits of its mantissa; scores above one half are
# mirrored. So bins are fine where scores crowd, at both ends: rare events are ranked too.
_MANTISSA_BITS = 10
_SHIFT = 52 - _MANTISSA_BITS
_OCTAVES = 16
_HALF = _OCTAVES << _MANTISSA_BITS
_TOP = int(np.array(0.5).view(np.int64)) >> _SHIFT
BINS = 2 * _HALF


def _ranks(distances: Floats) -> Ints:
    """The bin, in one half, of distances from an end, 0 to 0.5."""
    bits = distances.view(np.int64) >> _SHIFT
    ranks: Ints = np.clip(bits - (_TOP - _HALF), 0, _HALF - 1)
    return ranks


def bins_of(scores: Floats) -> Ints:
    """The bin of each score: a higher score never has a lower bin. NaN goes to the lowest."""
    scores = np.clip(np.nan_to_num(scores, nan=0.0), 0.0, 1.0)
    upper = scores > 0.5
    ranks = _ranks(np.where(upper, 1.0 - scores, scores))
    return np.where(upper, BINS - 1 - ranks, ranks)


class StreamingAuc:
    """Counts of positives and negatives by bin of their score.

    The result is within half the share of (positive, negative) pairs that meet in one bin of the exact
    one; a bin is 0.1 % of its distance from the nearer end wide, so that is some 1e-5 in practice.
    """

    def __init__(self, counts: Ints | None = None) -> None:
        self._counts = np.zeros((2, BINS), np.int64) if counts is None else counts

    def add(self, scores: Floats, truth: Bools) -> None:
        """Count a batch."""
        bins = bins_of(scores)
        # A full count of a small batch would touch all bins.
        np.add.at(self._counts, (truth.astype(np.int64), bins), 1)

    def value(self) -> float:
        """The area; 0.5 as long as there is but one class."""
        negatives, positives = self._counts
        below = np.cumsum(negatives) - negatives
        return _share(int((positives * (2 * below + negatives)).sum()), int(positives.sum()), int(negatives.sum()))

    def dump(self) -> bytes:
        """The counts."""
        return self._counts.tobytes()

    @classmethod
    def load(cls, data: bytes) -> StreamingAuc:
        """The inverse of `dump`."""
        return cls(np.frombuffer(data, np.int64).reshape(2, BINS).copy())


def exact_auc(scores: Floats, truth: Bools) -> float:
    """The area of a few thousand scores; ties count half. 0.5 where there is but one class."""
    negatives = np.sort(scores[~truth])
    positives = scores[truth]
    wins = np.searchsorted(negatives, positives, "left").sum() + np.searchsorted(negatives, positives, "right").sum()
    return _share(int(wins), len(positives), len(negatives))


def _share(half_wins: int, positives: int, negatives: int) -> float:
    pairs = positives * negatives
    return half_wins / (2 * pairs) if pairs else 0.5
