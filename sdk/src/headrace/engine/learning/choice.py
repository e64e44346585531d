"""The choice between compiled code and River."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from river import linear_model

from headrace.definition import FeatureDefinition, Task
from headrace.engine.learning.refusal import Refusal
from headrace.engine.learning.weights import final_step

if TYPE_CHECKING:
    from headrace.engine.learning.compiled import CompiledLearner

_LINEAR = (linear_model.LinearRegression, linear_model.LogisticRegression)


def learner_of(
    estimator: Any, features: Sequence[FeatureDefinition], task: Task, examples: int = 0
) -> CompiledLearner | Refusal:
    """Return a compiled learner that goes on from an estimator, or why River itself must learn.

    Numba takes 50 MB, so it is loaded only for estimators of the linear family.

    Parameters
    ----------
    estimator
        A River pipeline or estimator.
    features
        The features of the model, in order.
    task
        The model's task.
    examples
        The number of examples that the estimator has learned.
    """
    model = type(final_step(estimator))
    if model not in _LINEAR:
        return Refusal(f"{model.__name__} has no compiled form")
    try:
        return _compiled(estimator, features, task, examples)
    except Exception as error:
        # Numba may be missing, or unable to write its cache; River needs neither.
        return Refusal(f"Compiled code cannot be loaded: {error!r}", is_failure=True, error=error)


def _compiled(
    estimator: Any, features: Sequence[FeatureDefinition], task: Task, examples: int
) -> CompiledLearner | Refusal:
    from headrace.engine.learning.compiled import CompiledLearner, equals_river

    learner = CompiledLearner.of(estimator, features, task, examples)
    if isinstance(learner, CompiledLearner) and not equals_river(estimator, features, task):
        return Refusal("The compiled form computes other last digits than River on this machine", is_failure=True)
    return learner
