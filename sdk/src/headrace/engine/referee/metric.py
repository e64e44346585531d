"""Losses that a referee can compare: their mean is the metric, and their range is known."""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec
import numpy as np

from headrace.engine.arrays import Floats
from headrace.engine.quality.arithmetic import are_true, log_losses


class Loss(StrEnum):
    """The loss of one example."""

    LOG = "log_loss"
    BRIER = "brier"
    ABSOLUTE = "absolute_error"
    SQUARED = "squared_error"


class Metric(msgspec.Struct, frozen=True):
    """A mean of bounded losses. A loss beyond the range, or NaN, counts as the nearest end, or the worst.

    Attributes
    ----------
    loss
        The loss of one example.
    epsilon
        Log loss: probabilities are kept this far from 0 and 1.
    limit
        Absolute and squared errors: the largest loss that is declared, in the unit of the loss.
    """

    loss: Loss = Loss.LOG
    epsilon: float = 0.01
    limit: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.epsilon < 0.5:
            raise ValueError(f"epsilon is {self.epsilon}: it must lie between 0 and 0.5")
        if not 0.0 < self.limit < math.inf:
            raise ValueError(f"limit is {self.limit}: it must be above 0 and finite")

    @property
    def lowest(self) -> float:
        """The smallest loss."""
        return -math.log1p(-self.epsilon) if self.loss is Loss.LOG else 0.0

    @property
    def highest(self) -> float:
        """The largest loss."""
        if self.loss is Loss.LOG:
            return -math.log(self.epsilon)
        return 1.0 if self.loss is Loss.BRIER else self.limit

    def losses(self, scores: Floats, labels: Floats) -> Floats:
        """Return the loss of each score.

        Parameters
        ----------
        scores
            Log loss and Brier: the probability of true; also that of the class that came true, with labels of 1.
            Otherwise the value predicted.
        labels
            0 or 1; otherwise the true value.
        """
        if self.loss is Loss.LOG:
            chances = np.nan_to_num(np.where(are_true(labels), scores, 1.0 - scores), nan=0.0)
            return log_losses(np.clip(chances, self.epsilon, 1.0 - self.epsilon))
        with np.errstate(over="ignore", invalid="ignore"):
            errors = np.abs(scores - labels)
            return self.bounded(errors if self.loss is Loss.ABSOLUTE else errors * errors)

    def bounded(self, losses: Floats) -> Floats:
        """Return losses within the range."""
        return np.clip(np.nan_to_num(losses, nan=self.highest), self.lowest, self.highest)
