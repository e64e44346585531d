"""A check whether an estimator can learn weighted examples."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any


def takes_weight(estimator: Any) -> bool:
    """Return whether an estimator uses the weight of an example: the last step of a pipeline decides.

    One whose `learn_one` only has `**kwargs` does not: River's forests accept any argument, and ignore it.

    Examples
    --------
    >>> from river import linear_model, naive_bayes, preprocessing
    >>> takes_weight(preprocessing.StandardScaler() | linear_model.LogisticRegression())
    True
    >>> takes_weight(preprocessing.StandardScaler() | naive_bayes.GaussianNB())
    False
    """
    return "w" in inspect.signature(final_step(estimator).learn_one).parameters


def final_step(estimator: Any) -> Any:
    """Return the last step of a pipeline, also within pipelines; return any other estimator itself."""
    steps = getattr(estimator, "steps", None)
    if isinstance(steps, Mapping) and steps:
        return final_step(list(steps.values())[-1])
    return estimator
