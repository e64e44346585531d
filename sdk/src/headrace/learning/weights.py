"""Whether an estimator learns an example with a weight."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any


def takes_weight(estimator: Any) -> bool:
    """Say whether an estimator uses the weight of an example: the last step of a pipeline decides.

    One whose `learn_one` only has `**kwargs` does not: River's forests take any argument, and ignore it.

    Examples
    --------
    >>> from river import linear_model, naive_bayes, preprocessing
    >>> takes_weight(preprocessing.StandardScaler() | linear_model.LogisticRegression())
    True
    >>> takes_weight(preprocessing.StandardScaler() | naive_bayes.GaussianNB())
    False
    """
    steps = getattr(estimator, "steps", None)
    if isinstance(steps, Mapping) and steps:
        return takes_weight(list(steps.values())[-1])
    return "w" in inspect.signature(estimator.learn_one).parameters
