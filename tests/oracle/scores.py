"""Bare River over a log: predict, then learn, one example after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from headrace.definition import ModelDefinition, Task
from tests.oracle.record import LoggedExample


class Learned(NamedTuple):
    """A model after a log, and how it did: the share predicted right, or the mean absolute error."""

    estimator: Any
    examples: int
    score: float


def learn(model: ModelDefinition, estimator: Any, log: Sequence[LoggedExample]) -> Learned:
    """Test and train an untrained River estimator on each example, in the order of the log."""
    total = 0.0
    for example in log:
        row = {own.name: example.values[own.name] for own in model.features if example.values[own.name] is not None}
        label = _label(model.task, example.label)
        predicted = estimator.predict_one(row)
        total += abs(predicted - label) if model.task is Task.REGRESSION else predicted == label
        estimator.learn_one(row, label)
    return Learned(estimator, len(log), total / len(log) if log else 0.0)


def _label(task: Task, label: float | str) -> Any:
    return label == 1.0 if task is Task.BINARY else label
