"""Bare River over a log: it predicts at the question, and learns at the answer."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from headrace.definition import ModelDefinition, Task
from tests.oracle.record import LoggedEntry


class BareRiver:
    """A River estimator that reads a log in order.

    Attributes
    ----------
    read
        How many entries it has read.
    examples
        How many it has learned.
    """

    def __init__(self, model: ModelDefinition, estimator: Any) -> None:
        self.model = model
        self.estimator = estimator
        self.read = self.examples = 0
        self._asked: dict[int, Any] = {}
        self._total = self._weight = 0.0

    @property
    def score(self) -> float:
        """The share predicted right as of the question; for a regression, the mean absolute error."""
        return self._total / self._weight if self._weight else 0.0

    def follow(self, log: Iterable[LoggedEntry]) -> None:
        """Process the next entries of the log."""
        for entry in log:
            self.read += 1
            if entry.kind == "question":
                # A question must leave no trace in a model that has learned nothing: River's would gain its keys.
                estimator = self.estimator if self.examples else copy.deepcopy(self.estimator)
                self._asked[entry.seq] = estimator.predict_one(self._row(entry))
                continue
            predicted = self._asked.pop(entry.question)
            if entry.kind == "answer":
                self._answer(entry, predicted)

    def _answer(self, entry: LoggedEntry, predicted: Any) -> None:
        label: Any = entry.label == 1.0 if self.model.task is Task.BINARY else entry.label
        wrong = abs(predicted - label) if self.model.task is Task.REGRESSION else predicted == label
        self._total += entry.weight * wrong
        self._weight += entry.weight
        weighted = {} if entry.weight == 1.0 else {"w": entry.weight}
        self.estimator.learn_one(self._row(entry), label, **weighted)
        self.examples += 1

    def _row(self, entry: LoggedEntry) -> dict[str, Any]:
        """Return the vector without missing values, in the order of the model's features."""
        values = {feature.name: entry.values[feature.name] for feature in self.model.features}
        return {name: value for name, value in values.items() if value is not None and value != ""}
