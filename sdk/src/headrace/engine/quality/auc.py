"""The area under the ROC curve: exact over a window, and in bounded memory over a whole stream."""

from __future__ import annotations

import numpy as np

from headrace.engine.arrays import Bools, Floats, Ints

# A score's bin is its float's exponent and the first 10 bits of its mantissa; scores above one half are
# mirrored. Bins are therefore fine at both ends, where scores crowd: rare events are ranked too.
_MANTISSA_BITS = 10
_SHIFT = 52 - _MANTISSA_BITS
_OCTAVES = 16
_HALF = _OCTAVES << _MANTISSA_BITS
_TOP = int(np.array(0.5).view(np.int64)) >> _SHIFT
BINS = 2 * _HALF


def _ranks(distances: Floats) -> Ints:
    """Return the bins, in one half, of distances from an end, 0 to 0.5."""
    bits = distances.view(np.int64) >> _SHIFT
    ranks: Ints = np.clip(bits - (_TOP - _HALF), 0, _HALF - 1)
    return ranks


def bins_of(scores: Floats) -> Ints:
    """Return the bin of each score: a higher score never has a lower bin. NaN goes to the lowest."""
    scores = np.clip(np.nan_to_num(scores, nan=0.0), 0.0, 1.0)
    upper = scores > 0.5
    ranks = _ranks(np.where(upper, 1.0 - scores, scores))
    return np.where(upper, BINS - 1 - ranks, ranks)


class StreamingAuc:
    """Weights of positives and negatives by bin of their score.

    The result differs from the exact one by at most half the share of (positive, negative) pairs that meet in
    one bin; a bin is 0.1 % of its distance from the nearer end wide, so that is some 1e-5 in practice.
    """

    def __init__(self, sums: Floats | None = None) -> None:
        self._sums = np.zeros((2, BINS)) if sums is None else sums

    def add(self, scores: Floats, truth: Bools, weights: Floats | None = None) -> None:
        """Count a batch; without weights, each row counts once."""
        bins = bins_of(scores)
        # A full count would touch all bins for a small batch.
        np.add.at(self._sums, (truth.astype(np.int64), bins), 1.0 if weights is None else weights)

    def value(self) -> float:
        """Return the area; 0.5 as long as there is only one class."""
        negatives, positives = self._sums
        below = np.cumsum(negatives) - negatives
        half_wins = float((positives * (2.0 * below + negatives)).sum())
        return _share(half_wins, float(positives.sum()), float(negatives.sum()))

    def dump(self) -> bytes:
        """Return the sums as bytes."""
        return self._sums.tobytes()

    @classmethod
    def load(cls, data: bytes) -> StreamingAuc:
        """Restore what `dump` returned."""
        return cls(np.frombuffer(data, np.float64).reshape(2, BINS).copy())


def exact_auc(scores: Floats, truth: Bools, weights: Floats | None = None) -> float:
    """Return the area of a few thousand scores; ties count half. It is 0.5 if there is only one class."""
    if weights is None or (weights == 1.0).all():
        # Counts are exact in any order, and sorted scores are found faster.
        negatives, positives = np.sort(scores[~truth]), np.sort(scores[truth])
        sides = (np.searchsorted(negatives, positives, side) for side in ("left", "right"))
        return _share(float(sum(side.sum() for side in sides)), float(len(positives)), float(len(negatives)))
    order = np.argsort(scores[~truth], kind="stable")
    negatives = scores[~truth][order]
    below = np.concatenate(((0.0,), np.cumsum(weights[~truth][order])))
    positives, stakes = scores[truth], weights[truth]
    lower = below[np.searchsorted(negatives, positives, "left")]
    upper = below[np.searchsorted(negatives, positives, "right")]
    return _share(float((stakes * (lower + upper)).sum()), float(stakes.sum()), float(below[-1]))


def _share(half_wins: float, positives: float, negatives: float) -> float:
    pairs = positives * negatives
    return half_wins / (2.0 * pairs) if pairs else 0.5
