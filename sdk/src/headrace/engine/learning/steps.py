"""Ask and learn: the loops in which a learner spends its time, one of each per task.

A question is kept as a row of numbers: the score that the exported model gives (see
`headrace.engine.export.score_one`; a classifier that knows no class yet gives none) and the baselines' values at that
moment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from headrace.definition import Task
from headrace.engine.learning.rows import Row
from headrace.engine.quality import NO_PREDICTION, Baseline, BinaryBaseline, MulticlassBaseline, RegressionBaseline
from headrace.engine.quality.arithmetic import are_true

#: A model's score for a question: a number for binary and regression, the votes by class for multiclass.
Score: TypeAlias = float | Mapping[str, float]


class Estimator(Protocol):
    """A River classifier or regressor, or a pipeline that ends in one."""

    def learn_one(self, x: Row, y: Any) -> Any: ...

    def predict_one(self, x: Row) -> Any: ...

    def predict_proba_one(self, x: Row) -> dict[Any, float]: ...


class Scored(NamedTuple):
    """Predictions for a question, as of the question, in the terms of `headrace.engine.quality.Outcomes`."""

    score: float
    prior: float
    last: float | str | None
    predicted: str | None = None


_Baseline = TypeVar("_Baseline", bound=Baseline)


class Step(ABC, Generic[_Baseline]):
    """Asks and trains a model, in order.

    Parameters
    ----------
    baseline
        The baseline, which learns alongside the model.
    """

    #: Number of values kept for a question, as long as nothing was learned.
    width: ClassVar[int] = 3

    def __init__(self, baseline: _Baseline) -> None:
        self.baseline = baseline

    @abstractmethod
    def ask(self, estimator: Any, rows: Iterable[Row], values: Any) -> list[Score]:
        """Predict each row, and append the values to be kept to `values`, an array of doubles."""

    def scored(self, values: Sequence[float], label: Any) -> Scored:
        """Interpret the values kept for a question, given its label."""
        score, prior, last = values
        return Scored(score, prior, last)

    @property
    def new_width(self) -> int:
        """Number of values kept for the next question."""
        return self.width

    def learn(self, estimator: Any, rows: Iterable[Row], labels: Sequence[Any], weights: Sequence[float]) -> None:
        """Learn each row with its label."""
        learn, follow = estimator.learn_one, self.baseline.learn
        for row, label, weight in zip(rows, labels, weights, strict=True):
            if weight == 1.0:
                learn(row, label)
            else:
                learn(row, label, w=weight)
            follow(label, weight)


class BinaryStep(Step[BinaryBaseline]):
    """Keeps the probability of true, that of the prior, and the label learned last."""

    def ask(self, estimator: Any, rows: Iterable[Row], values: Any) -> list[Score]:
        predict, keep, scores = estimator.predict_proba_one, values.extend, list[Score]()
        prior, last = self.baseline.prior, self.baseline.last
        for row in rows:
            votes = predict(row)
            if not votes:
                score = NO_PREDICTION
            elif sum(votes.values()) == 0.0:
                score = 0.5
            else:
                score = votes.get(True, 0.0)
            scores.append(score)
            keep((score, prior, last))
        return scores


class RegressionStep(Step[RegressionBaseline]):
    """Keeps the predicted number, the mean of the labels, and the label learned last."""

    def ask(self, estimator: Any, rows: Iterable[Row], values: Any) -> list[Score]:
        predict, keep, scores = estimator.predict_one, values.extend, list[Score]()
        prior, last = self.baseline.prior, self.baseline.last
        for row in rows:
            score = predict(row)
            scores.append(score)
            keep((score, prior, last))
        return scores


# The values kept for a multiclass question begin with these; the vote for each class and its prior follow.
_LAST, _GUESS, _OTHER_VOTE, _OTHER_PRIOR, _HEAD = range(5)


class MulticlassStep(Step[MulticlassBaseline]):
    """Keeps the votes and the priors of all classes: only the answer says which one is true.

    The classes are in the order in which they were first learned. A row kept before a class was learned has NaN there,
    or ends before; the class then has the vote and the prior of an unknown one.
    """

    width = _HEAD

    def __init__(self, baseline: MulticlassBaseline) -> None:
        super().__init__(baseline)
        self._classes = list(baseline.classes)
        self._numbers = {name: number for number, name in enumerate(self._classes)}

    @property
    def new_width(self) -> int:
        return _HEAD + 2 * len(self._classes)

    def learn(self, estimator: Any, rows: Iterable[Row], labels: Sequence[Any], weights: Sequence[float]) -> None:
        super().learn(estimator, rows, labels, weights)
        for name in list(self.baseline.classes)[len(self._classes) :]:
            self._numbers[name] = len(self._classes)
            self._classes.append(name)

    def ask(self, estimator: Any, rows: Iterable[Row], values: Any) -> list[Score]:
        predict, keep, scores = estimator.predict_proba_one, values.extend, list[Score]()
        baseline = self.baseline
        priors = [baseline.prior(name) for name in self._classes]
        other_prior = 1.0 / (baseline.weight + len(self._classes) + 1.0)
        last = float(self._numbers[baseline.last]) if baseline.last is not None else -1.0
        for row in rows:
            votes = predict(row)
            scores.append(votes)
            guess, other = -1.0, NO_PREDICTION
            if votes:
                guess = float(self._numbers.get(max(votes, key=votes.__getitem__), -1))
                other = 0.0 if sum(votes.values()) != 0.0 else 1.0 / len(votes)
            keep((last, guess, other, other_prior))
            for name, prior in zip(self._classes, priors, strict=True):
                keep((other if other != 0.0 else votes.get(name, 0.0), prior))
        return scores

    def scored(self, values: Sequence[float], label: Any) -> Scored:
        at = _HEAD + 2 * self._numbers.get(label, len(values))
        has_label = at < len(values) and values[at + 1] == values[at + 1]
        score, prior = values[at : at + 2] if has_label else (values[_OTHER_VOTE], values[_OTHER_PRIOR])
        return Scored(score, prior, self._name(values[_LAST]), self._name(values[_GUESS]))

    def _name(self, number: float) -> str | None:
        return self._classes[int(number)] if number >= 0.0 else None


_STEPS: dict[Task, Callable[[Any], Step[Any]]] = {
    Task.BINARY: BinaryStep,
    Task.MULTICLASS: MulticlassStep,
    Task.REGRESSION: RegressionStep,
}


def step_of(task: Task, baseline: Baseline) -> Step[Any]:
    """Return the step of a task, with the baseline that learns alongside the model."""
    return _STEPS[task](baseline)


def labels_of(task: Task, labels: Any) -> list[Any]:
    """Return labels of the log as River takes them: bool, text or float."""
    if task is Task.BINARY:
        return list(are_true(labels).tolist())
    if task is Task.REGRESSION:
        return [float(label) for label in labels.tolist()]
    return list(labels)
