"""The learner with the chosen fault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from headrace.definition import Task
from headrace.learning import Learning
from headrace.learning.rows import Row, Rows
from headrace.learning.steps import STEPS, Scores
from headrace_learner.__main__ import main
from headrace_learner.checkpoint import Checkpoints
from tests.life.mutants import chosen


def trains_before_it_tests() -> None:
    """Predict with a model that has learned the answer."""
    step = STEPS[Task.BINARY]

    def trained(estimator: Any, rows: Iterable[Row], labels: list[Any], found: Scores) -> None:
        for row, label in zip(rows, labels, strict=True):
            estimator.learn_one(row, label)
            step(_Still(estimator), [row], [label], found)

    STEPS[Task.BINARY] = trained


class _Still:
    """An estimator that learns no more."""

    def __init__(self, estimator: Any) -> None:
        self.predict_proba_one = estimator.predict_proba_one

    def learn_one(self, row: Row, label: Any) -> None:
        """Learn nothing."""


def missing_is_zero() -> None:
    """Take 0 for what is missing."""
    of = Rows.of

    def filled(self: Rows, *given: Any) -> Iterator[Row]:
        for row in of(self, *given):
            yield {name: row.get(name, 0.0) for name in self._names}

    Rows.of = filled  # type: ignore[method-assign]


def skips_one_after_a_restart() -> None:
    """Go on one example too late."""
    load = Checkpoints.load

    def beyond(self: Checkpoints, *given: int) -> Learning | None:
        learning = load(self, *given)
        if learning is not None and learning.progress.examples:
            learning.progress.next_seq += 1
        return learning

    Checkpoints.load = beyond  # type: ignore[method-assign]


FAULTS = {own.__name__: own for own in (trains_before_it_tests, missing_is_zero, skips_one_after_a_restart)}

if __name__ == "__main__":
    FAULTS[chosen()]()
    main()
