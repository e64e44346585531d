"""The metrics of each task, computed in batches.

Every metric is *as of the question*: its score is what the model predicted when it was asked, before it learned what
became known later. The two baselines alongside each model are measured likewise, on the same examples: see
`headrace.engine.quality.baselines`.

All metrics depend on the examples and their order alone, to the bit, not on how they were batched. Below, wᵢ is the
weight of example i, yᵢ its label, pᵢ or ŷᵢ its score, and W the sum of the weights.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import numpy as np

from headrace.definition import ModelDefinition, Task
from headrace.engine.arrays import Bools, Floats, Ints
from headrace.engine.quality.arithmetic import Weighting, are_true, log_losses, total
from headrace.engine.quality.auc import StreamingAuc, exact_auc
from headrace.engine.quality.baselines import SCALE, Baseline, baseline_of
from headrace.engine.quality.calibration import Calibration, ReliabilityBin
from headrace.engine.quality.drift import DriftAlarm
from headrace.engine.quality.history import History, HistoryState, Point
from headrace.engine.quality.warning import MARK, is_worse

#: Score of a classifier that has seen no class yet: it is wrong, at the loss of the prior, which knows as little.
NO_PREDICTION = -1.0

# The largest float, in the unit in which errors are added.
_WORST = sys.float_info.max * SCALE


@dataclass(frozen=True)
class Outcomes:
    """A batch of answers, with what was predicted when their questions were asked.

    Attributes
    ----------
    times
        Event times of the questions.
    labels
        float64[N] (binary: 0 or 1), or the classes as text.
    scores
        Binary: the probability of true; multiclass: the probability given to the class that came true;
        regression: the value predicted. `NO_PREDICTION` if there was none.
    predicted
        Multiclass: the most probable class, None if there was none.
    weights
        The weight of each answer, as a number of examples; None: one each.
    prior, last
        The baselines at the question: the prior's score, in the terms of `scores`, and the label learned
        last (binary: -1 if there was none). None: they were not asked, and have no metrics.
    """

    times: Ints
    labels: Floats | list[str]
    scores: Floats
    predicted: Sequence[str | None] = ()
    weights: Floats | None = None
    prior: Floats | None = None
    last: Floats | list[str | None] | None = None

    def take(self, rows: Bools) -> Outcomes:
        """Return the outcomes at these rows."""
        indices = np.flatnonzero(rows).tolist()
        return Outcomes(
            self.times[rows],
            _take(self.labels, indices),
            self.scores[rows],
            [self.predicted[row] for row in indices] if self.predicted else (),
            None if self.weights is None else self.weights[rows],
            None if self.prior is None else self.prior[rows],
            None if self.last is None else _take(self.last, indices),
        )


class Totals(msgspec.Struct):
    """Counts and sums of one model since it began; those that a task does not need stay at 0.

    `scored` counts examples; everything else is weighted. `baseline` says whether the baselines were asked.
    """

    scored: int = 0
    unasked: int = 0
    dropped: int = 0
    baseline: bool = False
    weight: float = 0.0
    correct: float = 0.0
    no_change_correct: float = 0.0
    loss: float = 0.0
    prior_loss: float = 0.0
    # Binary
    hits: float = 0.0
    alarms: float = 0.0
    misses: float = 0.0
    # Multiclass: for each class, how often it was true, predicted and both.
    confusion: dict[str, tuple[float, float, float]] = {}
    # Regression
    squared: float = 0.0
    no_change_error: float = 0.0
    known: float = 0.0
    mean: float = 0.0
    deviation: float = 0.0


class QualityState(msgspec.Struct):
    """State of the metrics in a checkpoint."""

    totals: Totals
    baseline: Baseline
    drift: DriftAlarm
    history: HistoryState
    auc: bytes = b""
    calibration: bytes = b""


# Made on import: msgspec inspects a type with its first decoder, and two threads that do so at once crash the process.
_STATE = msgspec.msgpack.Decoder(QualityState)


class Quality(ABC):
    """The metrics of one model, as of the question.

    Parameters
    ----------
    task
        The model's task.
    score_from
        Examples whose question is before this event time are learned but not scored.

    Attributes
    ----------
    baseline
        The baseline, which learns the labels alongside the model, and is asked when the model is.
    """

    _columns: ClassVar[int]

    def __init__(self, task: Task, score_from: int | None = None) -> None:
        self.baseline = baseline_of(task)
        self._score_from = score_from
        self._totals = Totals()
        self._drift = DriftAlarm()
        self._history = History(self._columns, self._measure)

    def update(self, outcomes: Outcomes) -> None:
        """Score the next answers, in the order in which they became known."""
        if self._score_from is not None:
            outcomes = outcomes.take(outcomes.times >= self._score_from)
        if not len(outcomes.times):
            return
        weights = np.ones(len(outcomes.times)) if outcomes.weights is None else outcomes.weights
        self._totals.baseline |= outcomes.prior is not None
        self._totals.scored += len(weights)
        self._totals.weight = total(self._totals.weight, weights)
        self._score(outcomes, weights)

    def skip(self, *, dropped: bool) -> None:
        """Count an answer that is learned but not scored.

        Parameters
        ----------
        dropped
            Its prediction was dropped because too many waited; otherwise its question was never read.
        """
        if dropped:
            self._totals.dropped += 1
        else:
            self._totals.unasked += 1

    @abstractmethod
    def _score(self, outcomes: Outcomes, weights: Floats) -> None:
        """Score a batch that is not empty."""

    @abstractmethod
    def _metrics(self) -> dict[str, float]:
        """Return the task's own metrics."""

    @abstractmethod
    def _baselines(self) -> dict[str, float]:
        """Return the metrics of the baselines."""

    @staticmethod
    @abstractmethod
    def _measure(measured: Floats) -> dict[str, float]:
        """Return the metrics of a window of examples."""

    @property
    def points(self) -> list[Point]:
        """Quality over time."""
        return list(self._history.points)

    @property
    def reliability(self) -> list[ReliabilityBin]:
        """The reliability curve of a binary model; empty for others."""
        return []

    @property
    def last_alarm(self) -> int | None:
        """The event time of the last drift alarm."""
        return self._drift.last_time

    def metrics(self) -> dict[str, float]:
        """Return all metrics by name. They are 0, and an area 0.5, as long as nothing was scored.

        NaN is a metric that cannot be computed: the labels are too large for that.
        """
        totals = self._totals
        counts = {"examples": float(self.baseline.examples), "scored": float(totals.scored)}
        metrics = {**counts, **self._metrics(), **(self._baselines() if totals.baseline else {})}
        metrics = {name: _bounded(value) for name, value in metrics.items()}
        metrics["unasked"], metrics["dropped"] = float(totals.unasked), float(totals.dropped)
        metrics["drift_alarms"] = float(self._drift.alarms)
        if totals.baseline:
            metrics[MARK] = float(is_worse(metrics, totals.weight))
        return metrics

    def dump(self) -> bytes:
        """Serialize everything for a checkpoint."""
        area, calibration = self._curves()
        state = QualityState(self._totals, self.baseline, self._drift, self._history.dump(), area, calibration)
        return msgspec.msgpack.encode(state)

    def load(self, data: bytes) -> None:
        """Restore what `dump` returned."""
        state = _STATE.decode(data)
        self._totals, self.baseline, self._drift = state.totals, state.baseline, state.drift
        self._history.load(state.history)
        self._restore_curves(state.auc, state.calibration)

    def _curves(self) -> tuple[bytes, bytes]:
        return b"", b""

    def _restore_curves(self, area: bytes, calibration: bytes) -> None:
        return

    def _mean(self, sum_: float) -> float:
        return sum_ / self._totals.weight if self._totals.weight else 0.0


class BinaryQuality(Quality):
    """Metrics of a binary task.

    Notes
    -----
    - `log_loss` = -Σ wᵢ ln(yᵢ = true ? pᵢ : 1 - pᵢ) / W, probabilities kept 1e-15 away from 0 and 1
    - `roc_auc`: the share of pairs (one true, one false), weighted by the product of their weights, in which the true
      one has the higher score; equal scores count half
    - `accuracy` = Σ wᵢ [(pᵢ > ½) = yᵢ] / W
    - `f1` = 2 hits / (2 hits + false alarms + misses), in weights, true being predicted where pᵢ > ½
    - `ece`: the expected calibration error, Σ_b W_b |p̄_b - ȳ_b| / W over ten bins of equal width, where W_b is the
      weight of a bin, p̄_b its mean score and ȳ_b its share of true labels
    - `prior_log_loss`: the log loss of (weight of true + 1) / (weight + 2), from the labels known at the question
    - `no_change_accuracy`: the accuracy of the label learned last before the question
    """

    _columns = 7

    def __init__(self, task: Task = Task.BINARY, score_from: int | None = None) -> None:
        super().__init__(task, score_from)
        self._area = StreamingAuc()
        self._calibration = Calibration()

    def _score(self, outcomes: Outcomes, weights: Floats) -> None:
        totals = self._totals
        truth = are_true(np.asarray(outcomes.labels, np.float64))
        prior = np.full(len(truth), 0.5) if outcomes.prior is None else outcomes.prior
        no_change = np.zeros(len(truth), np.bool_) if outcomes.last is None else np.asarray(outcomes.last) == truth
        silent = outcomes.scores == NO_PREDICTION
        scores = np.where(silent, prior, outcomes.scores)
        predicted = scores > 0.5
        correct = (predicted == truth) & ~silent
        losses = log_losses(np.where(truth, scores, 1.0 - scores))
        prior_losses = log_losses(np.where(truth, prior, 1.0 - prior))
        totals.correct = total(totals.correct, weights * correct)
        totals.no_change_correct = total(totals.no_change_correct, weights * no_change)
        totals.hits = total(totals.hits, weights * (predicted & truth))
        totals.alarms = total(totals.alarms, weights * (predicted & ~truth))
        totals.misses = total(totals.misses, weights * (~predicted & truth))
        totals.loss = total(totals.loss, weights * losses)
        totals.prior_loss = total(totals.prior_loss, weights * prior_losses)
        self._area.add(scores, truth, weights)
        self._calibration.add(scores, truth, weights)
        self._drift.update(losses, outcomes.times)
        columns = (scores, truth, correct, losses, prior_losses, no_change, weights)
        self._history.add(outcomes.times, np.column_stack(columns))

    def _metrics(self) -> dict[str, float]:
        totals = self._totals
        return {
            "accuracy": self._mean(totals.correct),
            "roc_auc": self._area.value(),
            "log_loss": self._mean(totals.loss),
            "f1": _ratio(2.0 * totals.hits, 2.0 * totals.hits + totals.alarms + totals.misses),
            "ece": self._calibration.error(),
        }

    def _baselines(self) -> dict[str, float]:
        return {
            "prior_log_loss": self._mean(self._totals.prior_loss),
            "no_change_accuracy": self._mean(self._totals.no_change_correct),
        }

    @staticmethod
    def _measure(measured: Floats) -> dict[str, float]:
        scores, truth, correct, losses, prior_losses, no_change, weights = measured.T
        weighting = Weighting(weights)
        return {
            "roc_auc": exact_auc(scores, truth > 0.5, weights),
            "log_loss": weighting.mean(losses),
            "accuracy": weighting.mean(correct),
            "prior_log_loss": weighting.mean(prior_losses),
            "no_change_accuracy": weighting.mean(no_change),
        }

    @property
    def reliability(self) -> list[ReliabilityBin]:
        return self._calibration.curve()

    def _curves(self) -> tuple[bytes, bytes]:
        return self._area.dump(), self._calibration.dump()

    def _restore_curves(self, area: bytes, calibration: bytes) -> None:
        self._area, self._calibration = StreamingAuc.load(area), Calibration.load(calibration)


class MulticlassQuality(Quality):
    """Metrics of a multiclass task.

    Notes
    -----
    - `log_loss` = -Σ wᵢ ln(pᵢ of the class that came true) / W
    - `accuracy` = Σ wᵢ [most probable class = yᵢ] / W
    - `macro_f1`: the mean over the classes that came true or were predicted of 2 both / (true + predicted), in weights
    - `prior_log_loss`: the log loss of (weight of the class + 1) / (weight + classes + 1), from the labels known at the
      question
    - `no_change_accuracy`: the accuracy of the label learned last before the question
    """

    _columns = 5

    def __init__(self, task: Task = Task.MULTICLASS, score_from: int | None = None) -> None:
        super().__init__(task, score_from)

    def _score(self, outcomes: Outcomes, weights: Floats) -> None:
        totals = self._totals
        labels = [str(label) for label in outcomes.labels]
        correct = self._confuse(labels, outcomes.predicted, weights.tolist())
        prior = np.ones(len(labels)) if outcomes.prior is None else outcomes.prior
        last = [None] * len(labels) if outcomes.last is None else list(outcomes.last)
        no_change = np.array([one == other for one, other in zip(last, labels, strict=True)])
        losses = log_losses(np.where(outcomes.scores == NO_PREDICTION, prior, outcomes.scores))
        prior_losses = log_losses(prior)
        totals.correct = total(totals.correct, weights * correct)
        totals.no_change_correct = total(totals.no_change_correct, weights * no_change)
        totals.loss = total(totals.loss, weights * losses)
        totals.prior_loss = total(totals.prior_loss, weights * prior_losses)
        self._drift.update(losses, outcomes.times)
        self._history.add(outcomes.times, np.column_stack((correct, losses, prior_losses, no_change, weights)))

    def _confuse(self, labels: list[str], predicted: Sequence[str | None], weights: list[float]) -> Bools:
        confusion = self._totals.confusion
        for label, prediction, weight in zip(labels, predicted, weights, strict=True):
            true, guessed, both = confusion.get(label, (0.0, 0.0, 0.0))
            confusion[label] = (true + weight, guessed, both + weight * (prediction == label))
            if prediction is not None:
                true, guessed, both = confusion.get(prediction, (0.0, 0.0, 0.0))
                confusion[prediction] = (true, guessed + weight, both)
        return np.array([one == other for one, other in zip(labels, predicted, strict=True)])

    def _metrics(self) -> dict[str, float]:
        totals = self._totals
        f1 = [_ratio(2.0 * both, true + guessed) for true, guessed, both in totals.confusion.values()]
        return {
            "accuracy": self._mean(totals.correct),
            "log_loss": self._mean(totals.loss),
            "macro_f1": math.fsum(f1) / len(f1) if f1 else 0.0,
        }

    def _baselines(self) -> dict[str, float]:
        return {
            "prior_log_loss": self._mean(self._totals.prior_loss),
            "no_change_accuracy": self._mean(self._totals.no_change_correct),
        }

    @staticmethod
    def _measure(measured: Floats) -> dict[str, float]:
        correct, losses, prior_losses, no_change, weights = measured.T
        weighting = Weighting(weights)
        return {
            "log_loss": weighting.mean(losses),
            "accuracy": weighting.mean(correct),
            "prior_log_loss": weighting.mean(prior_losses),
            "no_change_accuracy": weighting.mean(no_change),
        }


class RegressionQuality(Quality):
    """Metrics of a regression task. A score that is NaN or infinite has the largest possible error.

    Notes
    -----
    - `mae` = Σ wᵢ |yᵢ - ŷᵢ| / W
    - `rmse` = √(Σ wᵢ (yᵢ - ŷᵢ)² / W)
    - `r2` = 1 - Σ wᵢ (yᵢ - ŷᵢ)² / Σ wᵢ (yᵢ - ȳ)², where ȳ is the weighted mean of the scored labels; NaN if the
      labels are too large to square their distances
    - `prior_mae`: the MAE of the weighted mean of the labels known at the question
    - `no_change_mae`: the MAE of the label learned last before the question

    Absolute errors are added in units of 2⁶⁴, so that sums of the largest ones are finite.
    """

    _columns = 5

    def __init__(self, task: Task = Task.REGRESSION, score_from: int | None = None) -> None:
        super().__init__(task, score_from)

    def _score(self, outcomes: Outcomes, weights: Floats) -> None:
        totals = self._totals
        labels: Floats = np.asarray(outcomes.labels, np.float64)
        errors = _scaled_errors(outcomes.scores, labels)
        zeros = np.zeros(len(labels))
        prior_errors = zeros if outcomes.prior is None else _scaled_errors(outcomes.prior, labels)
        no_change = zeros if outcomes.last is None else _scaled_errors(np.asarray(outcomes.last, np.float64), labels)
        totals.loss = total(totals.loss, weights * errors)
        totals.squared = total(totals.squared, weights * _squares(errors))
        totals.prior_loss = total(totals.prior_loss, weights * prior_errors)
        totals.no_change_error = total(totals.no_change_error, weights * no_change)
        self._deviate(labels, weights)
        self._drift.update(errors, outcomes.times)
        self._history.add(outcomes.times, np.column_stack((errors, labels, prior_errors, no_change, weights)))

    def _deviate(self, labels: Floats, weights: Floats) -> None:
        """Update Σ wᵢ (yᵢ - ȳ)² by Welford's method: sums of squares would lose a small variance far from 0."""
        totals = self._totals
        for label, weight in zip(labels.tolist(), weights.tolist(), strict=True):
            totals.known += weight
            off = label - totals.mean
            totals.mean += off * weight / totals.known
            totals.deviation += weight * off * (label - totals.mean)

    def _metrics(self) -> dict[str, float]:
        totals = self._totals
        return {
            "mae": self._mean(totals.loss) / SCALE,
            "rmse": math.sqrt(self._mean(totals.squared)),
            "r2": _r2(totals.squared, totals.deviation),
        }

    def _baselines(self) -> dict[str, float]:
        return {
            "prior_mae": self._mean(self._totals.prior_loss) / SCALE,
            "no_change_mae": self._mean(self._totals.no_change_error) / SCALE,
        }

    @staticmethod
    def _measure(measured: Floats) -> dict[str, float]:
        errors, labels, prior_errors, no_change, weights = measured.T
        weighting = Weighting(weights)
        squares = _squares(errors)
        with np.errstate(over="ignore", invalid="ignore"):
            off = labels - weighting.mean(labels)
            deviation = weighting.mean(off * off)
        metrics = {
            "mae": weighting.mean(errors) / SCALE,
            "rmse": math.sqrt(weighting.mean(squares)),
            "r2": _r2(weighting.mean(squares), deviation),
            "prior_mae": weighting.mean(prior_errors) / SCALE,
            "no_change_mae": weighting.mean(no_change) / SCALE,
        }
        return {name: _bounded(value) for name, value in metrics.items() if value == value}


_QUALITIES: dict[Task, type[BinaryQuality | MulticlassQuality | RegressionQuality]] = {
    Task.BINARY: BinaryQuality,
    Task.MULTICLASS: MulticlassQuality,
    Task.REGRESSION: RegressionQuality,
}


def quality_of(model: ModelDefinition) -> Quality:
    """Return metrics for a model that has learned nothing yet."""
    return _QUALITIES[model.task](model.task, model.score_from)


def restore(model: ModelDefinition, data: bytes) -> Quality:
    """Return metrics as a checkpoint kept them."""
    quality = quality_of(model)
    quality.load(data)
    return quality


def _take(values: Any, rows: list[int]) -> Any:
    return [values[row] for row in rows] if isinstance(values, list) else values[rows]


def _ratio(part: float, total: float) -> float:
    return part / total if total else 0.0


def _scaled_errors(guesses: Floats, labels: Floats) -> Floats:
    """Return absolute errors times `SCALE`: the product is exact, and no difference overflows."""
    with np.errstate(invalid="ignore"):
        errors = np.abs(guesses * SCALE - labels * SCALE)
    return np.nan_to_num(errors, nan=_WORST, posinf=_WORST)


def _squares(errors: Floats) -> Floats:
    """Return the squares of scaled errors; infinite if they are beyond the largest float."""
    with np.errstate(over="ignore"):
        plain = errors / SCALE
        return np.asarray(plain * plain, np.float64)


def _r2(squared: float, deviation: float) -> float:
    if not math.isfinite(deviation):
        return math.nan
    return 1.0 - squared / deviation if deviation > 0.0 else 0.0


def _bounded(value: float) -> float:
    """Return a value that JSON can hold: it has no infinity, so the largest float takes its place."""
    return value if value != value else min(max(value, -sys.float_info.max), sys.float_info.max)
