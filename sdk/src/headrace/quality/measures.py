"""The metrics of each task, computed in batches, always beside what knows nothing.

All of them depend on the examples and their order alone, to the bit, not on how they were batched.
Two baselines stand beside every model, on the same examples: *no change* predicts the label learned last,
the *prior* what was frequent (or the mean) so far, each before it sees the example.
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
from headrace.quality.arithmetic import Bools, Floats, Ints, before, log_losses, running
from headrace.quality.auc import StreamingAuc, exact_auc
from headrace.quality.drift import DriftAlarm
from headrace.quality.history import History, HistoryState, Point

#: The score of a classifier that has seen no class yet: wrong, at the loss of the prior, which knows no more.
NO_PREDICTION = -1.0

# Errors of a regressor that has diverged: still a number, also when squared and summed.
_WORST = 1e100


@dataclass(frozen=True)
class Outcomes:
    """A batch of examples with what was predicted before each was learned.

    Attributes
    ----------
    times
        Event times.
    labels
        float64[N] (binary: 0 or 1), or the classes as text.
    scores
        Binary: the probability of true; multiclass: the probability given to the class that came true;
        regression: the value predicted. `NO_PREDICTION` where there was none.
    predicted
        Multiclass: the most probable class, None where there was none.
    """

    times: Ints
    labels: Floats | list[str]
    scores: Floats
    predicted: Sequence[str | None] = ()


class Totals(msgspec.Struct):
    """Counts and sums of one model since it began; what a task does not need stays at 0."""

    examples: int = 0
    scored: int = 0
    correct: int = 0
    no_change_correct: int = 0
    loss: float = 0.0
    prior_loss: float = 0.0
    # Binary
    learned_true: int = 0
    hits: int = 0
    alarms: int = 0
    misses: int = 0
    # Multiclass: by class how often it was learned, and scored: how often true, predicted and both.
    learned: dict[str, int] = {}
    confusion: dict[str, tuple[int, int, int]] = {}
    # Regression
    squared: float = 0.0
    no_change_error: float = 0.0
    learned_sum: float = 0.0
    mean: float = 0.0
    deviation: float = 0.0
    # The label learned last
    last: float | str | None = None


class QualityState(msgspec.Struct):
    """What a checkpoint keeps of the metrics."""

    totals: Totals
    drift: DriftAlarm
    history: HistoryState
    auc: bytes = b""


# Made on import: msgspec looks at a type with its first decoder, and two threads that do so at once crash the process.
_STATE = msgspec.msgpack.Decoder(QualityState)


class Quality(ABC):
    """The prequential metrics of one model.

    Parameters
    ----------
    score_from
        Examples before this event time are learned, but not scored.
    """

    _columns: ClassVar[int]

    def __init__(self, score_from: int | None = None) -> None:
        self._score_from = score_from
        self._totals = Totals()
        self._drift = DriftAlarm()
        self._history = History(self._columns, self._measure)

    def update(self, outcomes: Outcomes) -> None:
        """Take the next examples, in the order of learning."""
        if len(outcomes.times):
            self._update(outcomes)

    @abstractmethod
    def _update(self, outcomes: Outcomes) -> None:
        """The same for a batch that is not empty."""

    @abstractmethod
    def _metrics(self) -> dict[str, float]:
        """The task's own metrics."""

    @staticmethod
    @abstractmethod
    def _measure(measured: Floats) -> dict[str, float]:
        """The metrics of a window of examples."""

    @property
    def points(self) -> list[Point]:
        """Quality over time."""
        return list(self._history.points)

    @property
    def last_alarm(self) -> int | None:
        """The event time of the last drift alarm."""
        return self._drift.last_time

    def metrics(self) -> dict[str, float]:
        """All metrics by name. As long as nothing was scored they are 0, an area is 0.5."""
        own = {"examples": float(self._totals.examples), "scored": float(self._totals.scored), **self._metrics()}
        return {name: _finite(value) for name, value in own.items()} | {"drift_alarms": float(self._drift.alarms)}

    def dump(self) -> bytes:
        """Everything, for a checkpoint."""
        return msgspec.msgpack.encode(QualityState(self._totals, self._drift, self._history.dump(), self._auc()))

    def load(self, data: bytes) -> None:
        """The inverse of `dump`."""
        state = _STATE.decode(data)
        self._totals, self._drift = state.totals, state.drift
        self._history.load(state.history)
        self._restore_auc(state.auc)

    def _auc(self) -> bytes:
        return b""

    def _restore_auc(self, data: bytes) -> None:
        return

    def _counted(self, times: Ints) -> Bools:
        return np.ones(len(times), np.bool_) if self._score_from is None else times >= self._score_from

    def _mean(self, total: float) -> float:
        return total / self._totals.scored if self._totals.scored else 0.0


class BinaryQuality(Quality):
    """Accuracy at one half, ROC AUC, log loss and F1 of the true class."""

    _columns = 6

    def __init__(self, score_from: int | None = None) -> None:
        super().__init__(score_from)
        self._curve = StreamingAuc()

    def _update(self, outcomes: Outcomes) -> None:
        totals = self._totals
        truth: Bools = np.asarray(outcomes.labels, np.float64) > 0.5
        seen = totals.examples + np.arange(len(truth))
        # The rule of succession: certain of nothing that it has not seen.
        prior = (before(totals.learned_true, truth) + 1) / (seen + 2)
        no_change = np.concatenate(((_number(totals.last),), truth[:-1])) == truth
        totals.examples += len(truth)
        totals.learned_true += int(truth.sum())
        totals.last = float(truth[-1])
        rows = self._counted(outcomes.times)
        if rows.any():
            self._score(outcomes.times[rows], truth[rows], outcomes.scores[rows], prior[rows], no_change[rows])

    def _score(self, times: Ints, truth: Bools, scores: Floats, prior: Floats, no_change: Bools) -> None:
        totals = self._totals
        silent = scores == NO_PREDICTION
        scores = np.where(silent, prior, scores)
        predicted = scores > 0.5
        correct = (predicted == truth) & ~silent
        losses = log_losses(np.where(truth, scores, 1.0 - scores))
        prior_losses = log_losses(np.where(truth, prior, 1.0 - prior))
        totals.scored += len(truth)
        totals.correct += int(correct.sum())
        totals.no_change_correct += int(no_change.sum())
        totals.hits += int((predicted & truth).sum())
        totals.alarms += int((predicted & ~truth).sum())
        totals.misses += int((~predicted & truth).sum())
        totals.loss = float(running(totals.loss, losses)[-1])
        totals.prior_loss = float(running(totals.prior_loss, prior_losses)[-1])
        self._curve.add(scores, truth)
        self._drift.update(losses, times)
        self._history.add(times, np.column_stack((scores, truth, correct, losses, prior_losses, no_change)))

    def _metrics(self) -> dict[str, float]:
        totals = self._totals
        return {
            "accuracy": self._mean(totals.correct),
            "roc_auc": self._curve.value(),
            "log_loss": self._mean(totals.loss),
            "f1": _ratio(2 * totals.hits, 2 * totals.hits + totals.alarms + totals.misses),
            "prior_log_loss": self._mean(totals.prior_loss),
            "no_change_accuracy": self._mean(totals.no_change_correct),
        }

    @staticmethod
    def _measure(measured: Floats) -> dict[str, float]:
        scores, truth, correct, losses, prior_losses, no_change = measured.T
        return {
            "roc_auc": exact_auc(scores, truth > 0.5),
            "log_loss": _average(losses),
            "accuracy": _average(correct),
            "prior_log_loss": _average(prior_losses),
            "no_change_accuracy": _average(no_change),
        }

    def _auc(self) -> bytes:
        return self._curve.dump()

    def _restore_auc(self, data: bytes) -> None:
        self._curve = StreamingAuc.load(data)


class MulticlassQuality(Quality):
    """Accuracy, log loss, and F1 averaged over the classes that came true or were predicted."""

    _columns = 4

    def _update(self, outcomes: Outcomes) -> None:
        totals = self._totals
        labels = [str(label) for label in outcomes.labels]
        prior = np.empty(len(labels))
        for row, label in enumerate(labels):
            known = totals.learned.get(label, 0)
            # One more class than was seen: there is always one that nobody has seen yet.
            prior[row] = (known + 1) / (totals.examples + len(totals.learned) + 1)
            totals.learned[label] = known + 1
            totals.examples += 1
        no_change = np.array([one == other for one, other in zip([totals.last, *labels], labels, strict=False)])
        totals.last = labels[-1]
        rows = self._counted(outcomes.times)
        if rows.any():
            chosen = np.flatnonzero(rows).tolist()
            correct = self._confuse([labels[row] for row in chosen], [outcomes.predicted[row] for row in chosen])
            self._score(outcomes.times[rows], correct, outcomes.scores[rows], prior[rows], no_change[rows])

    def _confuse(self, labels: list[str], predicted: list[str | None]) -> Bools:
        confusion = self._totals.confusion
        for label, prediction in zip(labels, predicted, strict=True):
            true, guessed, both = confusion.get(label, (0, 0, 0))
            confusion[label] = (true + 1, guessed, both + (prediction == label))
            if prediction is not None:
                true, guessed, both = confusion.get(prediction, (0, 0, 0))
                confusion[prediction] = (true, guessed + 1, both)
        return np.array([one == other for one, other in zip(labels, predicted, strict=True)])

    def _score(self, times: Ints, correct: Bools, scores: Floats, prior: Floats, no_change: Bools) -> None:
        totals = self._totals
        losses, prior_losses = log_losses(np.where(scores == NO_PREDICTION, prior, scores)), log_losses(prior)
        totals.scored += len(correct)
        totals.correct += int(correct.sum())
        totals.no_change_correct += int(no_change.sum())
        totals.loss = float(running(totals.loss, losses)[-1])
        totals.prior_loss = float(running(totals.prior_loss, prior_losses)[-1])
        self._drift.update(losses, times)
        self._history.add(times, np.column_stack((correct, losses, prior_losses, no_change)))

    def _metrics(self) -> dict[str, float]:
        totals = self._totals
        f1 = [_ratio(2 * both, true + guessed) for true, guessed, both in totals.confusion.values()]
        return {
            "accuracy": self._mean(totals.correct),
            "log_loss": self._mean(totals.loss),
            "macro_f1": math.fsum(f1) / len(f1) if f1 else 0.0,
            "prior_log_loss": self._mean(totals.prior_loss),
            "no_change_accuracy": self._mean(totals.no_change_correct),
        }

    @staticmethod
    def _measure(measured: Floats) -> dict[str, float]:
        correct, losses, prior_losses, no_change = measured.T
        return {
            "log_loss": _average(losses),
            "accuracy": _average(correct),
            "prior_log_loss": _average(prior_losses),
            "no_change_accuracy": _average(no_change),
        }


class RegressionQuality(Quality):
    """MAE, RMSE and R². Before the first label both baselines predict 0, as River's mean does."""

    _columns = 4

    def _update(self, outcomes: Outcomes) -> None:
        totals = self._totals
        labels: Floats = np.asarray(outcomes.labels, np.float64)
        sums = running(totals.learned_sum, labels)
        seen = totals.examples + np.arange(len(labels))
        prior = sums[:-1] / np.maximum(seen, 1)
        last = float(totals.last) if totals.last is not None else 0.0
        no_change = np.concatenate(((last,), labels[:-1]))
        totals.examples += len(labels)
        totals.learned_sum = float(sums[-1])
        totals.last = float(labels[-1])
        rows = self._counted(outcomes.times)
        if rows.any():
            self._score(outcomes.times[rows], labels[rows], outcomes.scores[rows], prior[rows], no_change[rows])

    def _score(self, times: Ints, labels: Floats, scores: Floats, prior: Floats, no_change: Floats) -> None:
        totals = self._totals
        errors, prior_errors, no_change_errors = (_errors(guess, labels) for guess in (scores, prior, no_change))
        totals.loss = float(running(totals.loss, errors)[-1])
        totals.squared = float(running(totals.squared, errors * errors)[-1])
        totals.prior_loss = float(running(totals.prior_loss, prior_errors)[-1])
        totals.no_change_error = float(running(totals.no_change_error, no_change_errors)[-1])
        for label in labels.tolist():  # Welford: sums of squares would lose a small variance far from 0
            totals.scored += 1
            off = label - totals.mean
            totals.mean += off / totals.scored
            totals.deviation += off * (label - totals.mean)
        self._drift.update(errors, times)
        self._history.add(times, np.column_stack((errors, labels, prior_errors, no_change_errors)))

    def _metrics(self) -> dict[str, float]:
        totals = self._totals
        return {
            "mae": self._mean(totals.loss),
            "rmse": math.sqrt(self._mean(totals.squared)),
            "r2": _r2(totals.squared, totals.deviation),
            "prior_mae": self._mean(totals.prior_loss),
            "no_change_mae": self._mean(totals.no_change_error),
        }

    @staticmethod
    def _measure(measured: Floats) -> dict[str, float]:
        errors, labels, prior_errors, no_change_errors = measured.T
        squares = errors * errors
        off = labels - _average(labels)
        return {
            "mae": _finite(_average(errors)),
            "rmse": _finite(math.sqrt(_average(squares))),
            "r2": _finite(_r2(math.fsum(squares), math.fsum(off * off))),
            "prior_mae": _finite(_average(prior_errors)),
            "no_change_mae": _finite(_average(no_change_errors)),
        }


_QUALITIES: dict[Task, type[Quality]] = {
    Task.BINARY: BinaryQuality,
    Task.MULTICLASS: MulticlassQuality,
    Task.REGRESSION: RegressionQuality,
}


def quality_of(model: ModelDefinition) -> Quality:
    """Metrics for a model that has learned nothing yet."""
    return _QUALITIES[model.task](model.score_from)


def restore(model: ModelDefinition, data: bytes) -> Quality:
    """Metrics as a checkpoint kept them."""
    quality = quality_of(model)
    quality.load(data)
    return quality


def _number(last: Any) -> float:
    return -1.0 if last is None else float(last)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _average(values: Floats) -> float:
    return math.fsum(values) / len(values)


def _errors(guesses: Floats, labels: Floats) -> Floats:
    errors: Floats = np.minimum(np.nan_to_num(np.abs(guesses - labels), nan=_WORST, posinf=_WORST), _WORST)
    return errors


def _r2(squared: float, deviation: float) -> float:
    return 1.0 - squared / deviation if deviation > 0.0 else 0.0


def _finite(value: float) -> float:
    """JSON has no infinity: a diverged model is told by the largest number."""
    return min(max(value, -sys.float_info.max), sys.float_info.max) if value == value else sys.float_info.max
