"""Adaptive random forests: one TreeEnsemble for all their trees."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from river import forest

from headrace.engine.export.ensemble import features_of
from headrace.engine.export.frame import Frame
from headrace.engine.export.graph import Graph
from headrace.engine.export.registry import CLASSIFICATION, REGRESSION, Label, Predicting, Prediction, converts
from headrace.engine.export.tree import check_classifier, check_regressor, names_of_models, regress, vote


@converts(forest.ARFClassifier)
class ARFClassifier(Predicting):
    """Converts an adaptive random forest that classifies."""

    tasks = CLASSIFICATION

    def check(self, estimator: Any) -> None:
        check_classifier(estimator)

    def labels(self, estimator: Any) -> Collection[Label]:
        return {label for tree in estimator for label in tree.classes}

    def names(self, estimator: Any) -> Collection[str]:
        return features_of(_roots(estimator))

    def predict(self, graph: Graph, estimator: Any, frame: Frame, labels: Sequence[Label]) -> Prediction:
        trees = list(estimator)
        if not trees:
            alike = np.full(len(labels), 1.0 / len(labels))
            return Prediction(graph.repeat(alike), by_class=True)
        return Prediction(vote(graph, frame, trees, _weights(estimator), labels=labels), by_class=True)


@converts(forest.ARFRegressor)
class ARFRegressor(Predicting):
    """Converts an adaptive random forest of regression trees."""

    tasks = REGRESSION

    def check(self, estimator: Any) -> None:
        check_regressor(estimator)

    def names(self, estimator: Any) -> Collection[str]:
        return names_of_models(_roots(estimator))

    def predict(self, graph: Graph, estimator: Any, frame: Frame, labels: Sequence[Label]) -> Prediction:
        # A forest that has learned nothing has no trees yet; like River's, it returns 0.
        roots = _roots(estimator) or [None]
        values = regress(graph, frame, estimator, roots)
        if estimator.aggregation_method == "median":
            return Prediction(_median(graph, values, len(roots)))
        weights = _errors(estimator) if len(estimator) and not estimator.disable_weighted_vote else None
        if weights is not None:
            values = graph.node("Mul", values, graph.constant(weights))
        return Prediction(graph.node("ReduceMean", values, graph.integers(1), keepdims=0))


def _roots(estimator: Any) -> list[Any]:
    return [tree._root for tree in estimator]


def _weights(estimator: Any) -> list[float]:
    """Return how much each tree's vote counts: its metric, if that is positive."""
    if estimator.disable_weighted_vote:
        return [1.0] * len(estimator)
    metrics = (metric.get() for metric in estimator._metrics)
    return [metric if metric > 0.0 else 1.0 for metric in metrics]


def _errors(estimator: Any) -> Any:
    """Return the weights of the trees, lower for larger errors; None before the first error."""
    errors = np.array([metric.get() for metric in estimator._metrics])
    if errors.sum() == 0:
        return None
    weights = errors.sum() - errors
    with np.errstate(invalid="ignore"):  # for a single tree, River's weight is 0 / 0
        return weights / weights.sum()


def _median(graph: Graph, values: str, count: int) -> str:
    largest = graph.node("TopK", values, graph.integers(count // 2 + 1), outputs=2, axis=1, largest=1, sorted=1)
    middle = [count // 2] if count % 2 else [count // 2 - 1, count // 2]
    chosen = graph.node("Gather", largest, graph.integers(*middle), axis=1)
    return graph.node("ReduceMean", chosen, graph.integers(1), keepdims=0)
