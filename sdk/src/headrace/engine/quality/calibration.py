"""Calibration: whether events with a predicted probability of p come true in a share of p."""

from __future__ import annotations

import msgspec
import numpy as np

from headrace.engine.arrays import Bools, Floats
from headrace.engine.quality.arithmetic import Weighting

#: Number of bins of equal width between 0 and 1.
BINS = 10


class ReliabilityBin(msgspec.Struct, frozen=True):
    """A point of the reliability curve.

    Attributes
    ----------
    weight
        The weight of the scores in the bin.
    score
        Their weighted mean.
    share
        The weighted share of true labels among them.
    """

    weight: float
    score: float
    share: float


class Calibration:
    """The sums of each bin: weights, weighted scores, weights of true labels."""

    def __init__(self, sums: Floats | None = None) -> None:
        self._sums = np.zeros((3, BINS)) if sums is None else sums

    def add(self, scores: Floats, truth: Bools, weights: Floats) -> None:
        """Count a batch of scores. NaN counts as 0."""
        scores = np.clip(np.nan_to_num(scores, nan=0.0), 0.0, 1.0)
        bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
        # Add in the order of the rows: sums depend on it, and must not depend on the batches.
        for row, values in enumerate((weights, weights * scores, weights * truth)):
            np.add.at(self._sums[row], bins, values)

    def curve(self) -> list[ReliabilityBin]:
        """Return the reliability curve: the bins that are not empty, in the order of their scores."""
        return [
            ReliabilityBin(weight, score / weight, true / weight)
            for weight, score, true in self._sums.T.tolist()
            if weight > 0.0
        ]

    def error(self) -> float:
        """Return the expected calibration error: the mean distance of score and share, weighted by bin."""
        curve = self.curve()
        if not curve:
            return 0.0
        distances = np.array([abs(part.score - part.share) for part in curve])
        return Weighting(np.array([part.weight for part in curve])).mean(distances)

    def dump(self) -> bytes:
        """Return the sums as bytes."""
        return self._sums.tobytes()

    @classmethod
    def load(cls, data: bytes) -> Calibration:
        """Restore what `dump` returned."""
        return cls(np.frombuffer(data, np.float64).reshape(3, BINS).copy())
