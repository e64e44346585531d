"""A model's score while it learns: the same as the exported model's, by one definition."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from headrace.definition import Task

Vector = Mapping[str, float | str | None]


def present(vector: Vector) -> dict[str, float | str]:
    """Return a vector in River's form: without the features that are missing (NaN, None, or the empty text)."""
    return {name: value for name, value in vector.items() if value is not None and value != "" and value == value}


def score_one(
    model: Any, x: dict[str, float | str], task: Task, classes: Sequence[str] = ()
) -> float | tuple[float, ...]:
    """Score one vector: with River's own answer, or with a defined one if River has none.

    Parameters
    ----------
    model
        A River pipeline or estimator.
    x
        The features that are present, as returned by `present`.
    task
        The model's task.
    classes
        The order of a multiclass score, as returned by `classes_of`.

    Returns
    -------
    float | tuple[float, ...]
        Binary: the probability of true. Regression: the number. Multiclass: the probability of each of `classes`, 0
        for one that the model does not know.

    Notes
    -----
    River has no answer if a classifier has seen nothing (it returns `{}`, or 0 for each class), if a `MinMaxScaler`
    meets a feature for the first time, or if a model has diverged (it returns NaN). The score is then neutral:
    0.5, or one divided by the number of classes, or 0 for a regression.
    """
    if task is Task.REGRESSION:
        number = float(model.predict_one(x))
        return 0.0 if math.isnan(number) else number
    votes = model.predict_proba_one(x)
    has_votes = sum(votes.values()) > 0.0
    if task is Task.BINARY:
        return float(votes.get(True, 0.0)) if has_votes else 0.5
    if not has_votes:
        return (1.0 / len(classes),) * len(classes) if classes else ()
    by_text = {str(label): vote for label, vote in votes.items()}
    return tuple(float(by_text.get(label, 0.0)) for label in classes)
