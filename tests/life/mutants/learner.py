"""The learner with the chosen fault."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from headrace.engine.learning import Learning, learning
from headrace.engine.learning.columns import Columns
from headrace.engine.learning.compiled import CompiledLearner, PreparedMessage
from headrace.engine.learning.refusal import Refusal
from headrace.engine.learning.rows import Row, Rows
from headrace.engine.learning.steps import BinaryStep, Scored
from headrace_learner.__main__ import main
from headrace_learner.checkpoint import Checkpoints
from tests.life.mutants import chosen


def trains_before_it_tests() -> None:
    """Predict with a model that has already learned the answer; River learns, because compiled code keeps the order."""
    learning.learner_of = lambda *_: Refusal("a fault is planted")
    learn, late = BinaryStep.learn, deque[float]()

    def trained(self: BinaryStep, estimator: Any, rows: Iterable[Row], *arguments: Any, **options: Any) -> None:
        all_rows, values = list(rows), array("d")
        learn(self, estimator, all_rows, *arguments, **options)
        self.ask(estimator, all_rows, values)
        late.clear()
        late.extend(values[:: self.width])

    def scored(self: BinaryStep, values: Sequence[float], label: Any) -> Scored:
        return Scored(late.popleft(), values[1], values[2])

    BinaryStep.learn = trained  # type: ignore[method-assign,assignment]
    BinaryStep.scored = scored  # type: ignore[method-assign]


def missing_is_zero() -> None:
    """Treat a missing value as 0."""
    of, prepared = Rows.of, CompiledLearner.prepared

    def without_missing(self: CompiledLearner, columns: Columns) -> PreparedMessage:
        return prepared(self, replace(columns, numbers=np.nan_to_num(columns.numbers, nan=0.0)))

    def filled(self: Rows, *arguments: Any, **options: Any) -> Iterator[Row]:
        for row in of(self, *arguments, **options):
            yield {name: row.get(name, 0.0) for name in self._names}

    Rows.of = filled  # type: ignore[method-assign]
    CompiledLearner.prepared = without_missing  # type: ignore[method-assign]


def skips_one_after_a_restart() -> None:
    """Resume one entry too late."""
    load = Checkpoints.load

    def beyond(self: Checkpoints, *arguments: int, **options: Any) -> Learning | None:
        learning = load(self, *arguments, **options)
        if learning is not None and learning.progress.examples:
            learning.progress.next_seq += 1
        return learning

    Checkpoints.load = beyond  # type: ignore[method-assign]


FAULTS = {mutant.__name__: mutant for mutant in (trains_before_it_tests, missing_is_zero, skips_one_after_a_restart)}

if __name__ == "__main__":
    FAULTS[chosen()]()
    main()
