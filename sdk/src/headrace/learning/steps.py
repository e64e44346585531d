"""Test, then train: the loop in which a learner spends its time, one for each task.

What is tested is the score that the exported model gives (see `headrace.export.score_one`); a classifier
that knows no class yet has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from headrace.definition import Task
from headrace.quality import NO_PREDICTION

from .rows import Row


class Estimator(Protocol):
    """A River classifier or regressor, or a pipeline that ends in one."""

    def learn_one(self, x: Row, y: Any) -> Any: ...

    def predict_one(self, x: Row) -> Any: ...

    def predict_proba_one(self, x: Row) -> dict[Any, float]: ...


class Scores(Protocol):
    """Where a step puts what it predicted; `predicted` is used by multiclass models only."""

    scores: list[float]
    predicted: list[str | None]


class Step(Protocol):
    """Tests and trains on rows with their labels, in order."""

    def __call__(self, estimator: Any, rows: Iterable[Row], labels: list[Any], found: Scores) -> None: ...


def _binary(estimator: Any, rows: Iterable[Row], labels: list[bool], found: Scores) -> None:
    predict, learn, score = estimator.predict_proba_one, estimator.learn_one, found.scores.append
    for row, label in zip(rows, labels, strict=True):
        votes = predict(row)
        if not votes:
            score(NO_PREDICTION)
        elif sum(votes.values()) == 0.0:
            score(0.5)
        else:
            score(votes.get(True, 0.0))
        learn(row, label)


def _multiclass(estimator: Any, rows: Iterable[Row], labels: list[str], found: Scores) -> None:
    predict, learn = estimator.predict_proba_one, estimator.learn_one
    score, guess = found.scores.append, found.predicted.append
    for row, label in zip(rows, labels, strict=True):
        votes = predict(row)
        if not votes:
            score(NO_PREDICTION)
            guess(None)
        else:
            score(votes.get(label, 0.0) if sum(votes.values()) != 0.0 else 1.0 / len(votes))
            guess(max(votes, key=votes.__getitem__))
        learn(row, label)


def _regression(estimator: Any, rows: Iterable[Row], labels: list[float], found: Scores) -> None:
    predict, learn, score = estimator.predict_one, estimator.learn_one, found.scores.append
    for row, label in zip(rows, labels, strict=True):
        score(predict(row))
        learn(row, label)


#: The step of each task.
STEPS: dict[Task, Step] = {Task.BINARY: _binary, Task.MULTICLASS: _multiclass, Task.REGRESSION: _regression}


def labels_of(task: Task, labels: Any) -> list[Any]:
    """Labels of the examples log as River takes them: bool, text or float."""
    if task is Task.BINARY:
        return [label > 0.5 for label in labels.tolist()]
    if task is Task.REGRESSION:
        return [float(label) for label in labels.tolist()]
    return list(labels)
