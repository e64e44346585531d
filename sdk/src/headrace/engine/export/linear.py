"""Linear models: one matrix product for each block of features, with the preceding scaler folded in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from river import linear_model, optim

from headrace.definition import Task
from headrace.engine.export.frame import Block, Frame
from headrace.engine.export.graph import Doubles, Graph
from headrace.engine.export.registry import (
    CLASSIFICATION,
    REGRESSION,
    Label,
    Predicting,
    Prediction,
    converts,
    numbers_only,
    refuse,
)

NEVER = -1e300
"""The logit of an impossible class. Not minus infinity: if no class is possible, all are equal."""


class _GLM(Predicting):
    """Regressions with one output, whose loss determines how the sum becomes a prediction."""

    def check(self, estimator: Any) -> None:
        if type(estimator.loss).mean_func not in _OPERATORS:
            refuse(f"{type(estimator).__name__}(loss={type(estimator.loss).__name__})")

    def names(self, estimator: Any) -> Collection[str]:
        return estimator.weights  # type: ignore[no-any-return]

    def predict(self, graph: Graph, estimator: Any, frame: Frame, labels: Sequence[Label]) -> Prediction:
        numbers_only(estimator, frame)
        weights = estimator.weights
        tensor = _affine(graph, frame, np.array(float(estimator.intercept)), lambda name: weights.get(name, 0.0))
        operator = _operator(estimator)
        return Prediction(graph.node(operator, tensor) if operator else tensor)


@converts(linear_model.LinearRegression)
class LinearRegression(_GLM):
    """Converts a linear regression."""

    tasks = REGRESSION


@converts(linear_model.LogisticRegression)
class LogisticRegression(_GLM):
    """River's sigmoid is exactly 0 and 1 beyond ±30, while this one differs by 1e-13."""

    tasks = frozenset({Task.BINARY})


@converts(linear_model.SoftmaxRegression)
class SoftmaxRegression(Predicting):
    """Converts a softmax regression."""

    tasks = CLASSIFICATION

    def labels(self, estimator: Any) -> Collection[Label]:
        return estimator.weights  # type: ignore[no-any-return]

    def names(self, estimator: Any) -> Collection[str]:
        return {name for weights in estimator.weights.values() for name in weights}

    def predict(self, graph: Graph, estimator: Any, frame: Frame, labels: Sequence[Label]) -> Prediction:
        numbers_only(estimator, frame)
        weights = [estimator.weights.get(label, {}) for label in labels]
        bias = np.array([0.0 if label in estimator.weights else NEVER for label in labels])
        logits = _affine(graph, frame, bias, lambda name: [by_label.get(name, 0.0) for by_label in weights])
        return Prediction(graph.node("Softmax", logits, axis=1), by_class=True)


_OPERATORS = {
    optim.losses.BinaryLoss.mean_func: "Sigmoid",
    optim.losses.RegressionLoss.mean_func: None,
    optim.losses.Poisson.mean_func: "Exp",
}


def _operator(estimator: Any) -> str | None:
    """Return the operator that turns the sum into a prediction, like the loss's `mean_func`; None for the identity."""
    return _OPERATORS[type(estimator.loss).mean_func]


def _affine(graph: Graph, frame: Frame, bias: Doubles, weight: Callable[[str], float | list[float]]) -> str:
    """Compute `bias` + Σ weight · feature over the present features: a scalar or a row for each of the N rows."""
    total: str | None = None
    for block in frame.blocks:
        weights = np.zeros((block.width, *bias.shape))
        for name, column in block.columns.items():
            weights[column] = weight(name)
        if weights.any():
            product = _product(graph, block, weights)
            total = product if total is None else graph.node("Add", total, product)
    if total is None:
        return graph.repeat(bias)
    return graph.node("Add", total, graph.constant(bias))


def _product(graph: Graph, block: Block, weights: Doubles) -> str:
    # Keep the shift a separate operation: within the weights it would cancel badly for a large mean.
    centred = block.centred(graph)
    if block.divisor is not None:
        weights = weights / block.divisor.reshape(-1, *[1] * (weights.ndim - 1))
    if not block.complete:
        centred = graph.present(centred, centred)
    return graph.node("MatMul", centred, graph.constant(weights))
