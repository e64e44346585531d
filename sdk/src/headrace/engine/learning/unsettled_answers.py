"""Answers that were learned and scored, but not yet given to the metrics."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

from headrace.definition import Task
from headrace.engine.arrays import Floats, Ints
from headrace.engine.learning.steps import Scored
from headrace.engine.quality import Outcomes


class UnsettledAnswers:
    """Answers, with what was predicted for their questions, in columns that grow quickly."""

    def __init__(self, task: Task) -> None:
        self._is_text = task is Task.MULTICLASS
        self._times = array("q")
        self._weights, self._scores, self._priors = array("d"), array("d"), array("d")
        self._labels: Any = [] if self._is_text else array("d")
        self._lasts: Any = [] if self._is_text else array("d")
        self._predicted: list[str | None] = []

    def __len__(self) -> int:
        return len(self._times)

    def add(self, time: int, label: Any, weight: float, scored: Scored) -> None:
        """Add an answer."""
        self._times.append(time)
        self._labels.append(label)
        self._weights.append(weight)
        self._scores.append(scored.score)
        self._priors.append(scored.prior)
        self._lasts.append(scored.last)
        self._predicted.append(scored.predicted)

    def extend(self, times: Ints, labels: Floats, weights: Floats, values: Floats) -> None:
        """Add answers; `values` are the rows that were kept for their questions: score, prior, last label."""
        scores, priors, lasts = values.T
        for column, part in (
            (self._times, times),
            (self._labels, labels),
            (self._weights, weights),
            (self._scores, scores),
            (self._priors, priors),
            (self._lasts, lasts),
        ):
            column.frombytes(part.tobytes())

    def outcomes(self) -> Outcomes:
        """Return the answers in the form that the metrics take."""
        labels, lasts = self._labels, self._lasts
        return Outcomes(
            np.array(self._times, np.int64),
            labels if self._is_text else np.array(labels, np.float64),
            np.array(self._scores, np.float64),
            self._predicted if self._is_text else (),
            np.array(self._weights, np.float64),
            np.array(self._priors, np.float64),
            lasts if self._is_text else np.array(lasts, np.float64),
        )
