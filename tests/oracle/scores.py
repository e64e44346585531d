"""Bare River over a log: predict, then learn, one example after another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headrace.definition import ModelDefinition, Task
from tests.oracle.record import LoggedExample


class BareRiver:
    """A River estimator that learns a log in its order.

    Attributes
    ----------
    examples
        How many it has learned.
    """

    def __init__(self, model: ModelDefinition, estimator: Any) -> None:
        self.model = model
        self.estimator = estimator
        self.examples = 0
        self._total = 0.0

    @property
    def score(self) -> float:
        """The share predicted right; of a regression the mean absolute error."""
        return self._total / self.examples if self.examples else 0.0

    def learn(self, log: Iterable[LoggedExample]) -> None:
        """Test and train on the next examples of the log."""
        regression = self.model.task is Task.REGRESSION
        for example in log:
            row = self._row(example)
            label: Any = example.label == 1.0 if self.model.task is Task.BINARY else example.label
            predicted = self.estimator.predict_one(row)
            self._total += abs(predicted - label) if regression else predicted == label
            self.estimator.learn_one(row, label)
            self.examples += 1

    def _row(self, example: LoggedExample) -> dict[str, Any]:
        """The vector without what is missing, in the order of the model's features."""
        values = {own.name: example.values[own.name] for own in self.model.features}
        return {name: value for name, value in values.items() if value is not None and value != ""}
