"""Baselines: predictions from the labels so far, without features.

A baseline learns each label when the model does, and is asked when the model is: it knows exactly the labels that were
known at the time of the question. *No change* repeats the label learned last. The *prior* predicts what has been
usual: the share of each class, or the mean.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np

from headrace.definition import Task
from headrace.engine.arrays import Floats
from headrace.engine.quality.arithmetic import are_true, running

#: A power of two that keeps sums of the largest floats finite; multiplying by it is exact.
SCALE = 2.0**-64


class BaselineValues(NamedTuple):
    """The predictions of the baselines while N labels are learned: before each label, and after the last one.

    Attributes
    ----------
    priors
        float64[N + 1]: those of the prior.
    lasts
        float64[N + 1]: those of no change, which are the label learned last.
    """

    priors: Floats
    lasts: Floats


class BinaryBaseline(msgspec.Struct, tag="binary"):
    """Weights of the labels learned so far: all labels, and the true ones; `last` is -1 before the first label."""

    examples: int = 0
    weight: float = 0.0
    true: float = 0.0
    last: float = -1.0

    def learn(self, label: bool, weight: float) -> None:
        """Take a label into account."""
        self.examples += 1
        self.weight += weight
        if label:
            self.true += weight
        self.last = 1.0 if label else 0.0

    def learn_all(self, labels: Floats, weights: Floats) -> BaselineValues:
        """Learn labels one after the other, as `learn` does; return the predictions between them."""
        weight = running(self.weight, weights)
        truth = are_true(labels)
        true = running(self.true, np.where(truth, weights, 0.0))
        lasts = np.concatenate(((self.last,), np.where(truth, 1.0, 0.0)))
        self.examples += len(labels)
        self.weight, self.true, self.last = float(weight[-1]), float(true[-1]), float(lasts[-1])
        return BaselineValues((true + 1.0) / (weight + 2.0), lasts)

    @property
    def prior(self) -> float:
        """The probability of true by the rule of succession: (true + 1) / (all + 2)."""
        return (self.true + 1.0) / (self.weight + 2.0)


class MulticlassBaseline(msgspec.Struct, tag="multiclass"):
    """The weight of each class learned so far."""

    examples: int = 0
    weight: float = 0.0
    classes: dict[str, float] = {}
    last: str | None = None

    def learn(self, label: str, weight: float) -> None:
        """Take a label into account."""
        self.examples += 1
        self.weight += weight
        self.classes[label] = self.classes.get(label, 0.0) + weight
        self.last = label

    def prior(self, label: str) -> float:
        """Return the probability of a class: (its weight + 1) / (all + classes + 1). One class is always unknown."""
        return (self.classes.get(label, 0.0) + 1.0) / (self.weight + len(self.classes) + 1.0)


class RegressionBaseline(msgspec.Struct, tag="regression"):
    """The sum of the labels learned so far, times `SCALE`. Before the first label, both baselines predict 0."""

    examples: int = 0
    weight: float = 0.0
    total: float = 0.0
    last: float = 0.0

    def learn(self, label: float, weight: float) -> None:
        """Take a label into account."""
        self.examples += 1
        self.weight += weight
        self.total += label * SCALE * weight
        self.last = label

    def learn_all(self, labels: Floats, weights: Floats) -> BaselineValues:
        """Learn labels one after the other, as `learn` does; return the predictions between them."""
        # Python's floats overflow without a warning.
        with np.errstate(all="ignore"):
            weight = running(self.weight, weights)
            total = running(self.total, labels * SCALE * weights)
            priors = np.where(weight == 0.0, 0.0, total / weight / SCALE)
        lasts = np.concatenate(((self.last,), labels))
        self.examples += len(labels)
        self.weight, self.total, self.last = float(weight[-1]), float(total[-1]), float(lasts[-1])
        return BaselineValues(priors, lasts)

    @property
    def prior(self) -> float:
        """The mean of the labels learned so far."""
        return self.total / self.weight / SCALE if self.weight else 0.0


Baseline: TypeAlias = BinaryBaseline | MulticlassBaseline | RegressionBaseline

_BASELINES: dict[Task, type[Baseline]] = {
    Task.BINARY: BinaryBaseline,
    Task.MULTICLASS: MulticlassBaseline,
    Task.REGRESSION: RegressionBaseline,
}


def baseline_of(task: Task) -> Baseline:
    """Return a baseline that has learned nothing yet."""
    return _BASELINES[task]()
