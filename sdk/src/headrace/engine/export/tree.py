"""Hoeffding trees. A tree is a forest of one: code shared with forests works on a list of trees."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import numpy as np
from river import linear_model, optim, tree
from river.tree.nodes.hatc_nodes import AdaLeafClassifier
from river.tree.nodes.htr_nodes import LeafAdaptive, LeafModel

from headrace.engine.export.ensemble import Trees, features_of, leaves_of
from headrace.engine.export.evidence import evidence
from headrace.engine.export.frame import Block, Frame
from headrace.engine.export.graph import Graph
from headrace.engine.export.linear import NEVER
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


@converts(tree.HoeffdingTreeClassifier)
@converts(tree.HoeffdingAdaptiveTreeClassifier)
class HoeffdingTreeClassifier(Predicting):
    """Converts a Hoeffding tree that classifies, adaptive or not."""

    tasks = CLASSIFICATION

    def check(self, estimator: Any) -> None:
        check_classifier(estimator)

    def labels(self, estimator: Any) -> Collection[Label]:
        return estimator.classes  # type: ignore[no-any-return]

    def names(self, estimator: Any) -> Collection[str]:
        return features_of([estimator._root])

    def predict(self, graph: Graph, estimator: Any, frame: Frame, labels: Sequence[Label]) -> Prediction:
        return Prediction(vote(graph, frame, [estimator], [1.0], labels=labels), by_class=True)


@converts(tree.HoeffdingTreeRegressor)
@converts(tree.HoeffdingAdaptiveTreeRegressor)
class HoeffdingTreeRegressor(Predicting):
    """Converts a Hoeffding tree for regression, adaptive or not."""

    tasks = REGRESSION

    def check(self, estimator: Any) -> None:
        check_regressor(estimator)

    def names(self, estimator: Any) -> Collection[str]:
        return names_of_models([estimator._root])

    def predict(self, graph: Graph, estimator: Any, frame: Frame, labels: Sequence[Label]) -> Prediction:
        return Prediction(graph.sum(regress(graph, frame, estimator, [estimator._root]), 1))


def check_classifier(estimator: Any) -> None:
    """Refuse splitters whose densities the graph cannot compute, if leaves use densities."""
    splitter = type(estimator.splitter)
    splitters = (type(None), tree.splitter.GaussianSplitter, tree.splitter.ExhaustiveSplitter)
    if estimator.leaf_prediction != "mc" and splitter not in splitters:
        leaf = estimator.leaf_prediction
        refuse(f"{type(estimator).__name__}(splitter={splitter.__name__}, leaf_prediction={leaf!r})")


def check_regressor(estimator: Any) -> None:
    """Refuse leaf models other than a linear regression."""
    model = estimator.leaf_model
    if estimator.leaf_prediction == "mean" or model is None:
        return
    if type(model) is not linear_model.LinearRegression:
        refuse(f"{type(estimator).__name__}(leaf_model={type(model).__name__})")
    if type(model.loss).mean_func is not optim.losses.RegressionLoss.mean_func:
        refuse(f"{type(estimator).__name__}(leaf_model=LinearRegression(loss={type(model.loss).__name__}))")


def names_of_models(roots: Sequence[Any]) -> set[str]:
    """Return the features that regression trees branch on, or that the models in their leaves weigh."""
    names = features_of(roots)
    for leaf in (leaf for root in roots for leaf in leaves_of(root)):
        if isinstance(leaf, LeafModel):
            names.update(leaf._leaf_model.weights)
    return names


# Classification: the leaves' votes


def vote(
    graph: Graph, frame: Frame, estimators: Sequence[Any], weights: Sequence[float], *, labels: Sequence[Label]
) -> str:
    """Compute double[N, labels]: the weighted votes of many trees, normalised to sum up to 1.

    If no leaf votes (they have seen nothing), all classes are equal.
    """
    trees = Trees.of(graph, frame, [estimator._root for estimator in estimators])
    leaves = list(zip(trees.leaves, trees.tree_of_leaf, strict=True))
    bayes = [_asks_bayes(leaf, estimators[of]) for leaf, of in leaves]
    prior = np.array([_prior(leaf, of_bayes, labels) for (leaf, _), of_bayes in zip(leaves, bayes, strict=True)])
    shares = np.array([weights[of] * _share(leaf) for leaf, of in leaves])
    alone = len(estimators) == 1 and not trees.alternates

    at = trees.reached(graph)
    if any(bayes):
        asking = [leaf if asks else None for leaf, asks in zip(trees.leaves, bayes, strict=True)]
        logits = graph.rows(prior, at)
        for log in evidence(graph, trees, asking, at, labels=labels):
            logits = graph.node("Add", logits, log)
        votes = graph.node("Softmax", logits, axis=2)
    else:
        votes = graph.rows(np.exp(prior), at)

    if alone and shares.min() > 0.0:
        return graph.sum(votes, 1)
    total = graph.sum(graph.node("Mul", votes, graph.rows(shares[:, None], at)), 1)
    weight = graph.sum(total, 1, keep=True)
    normal = graph.node("Div", total, weight)
    if shares.min() > 0.0:
        return normal
    some = graph.node("Greater", weight, graph.doubles(0.0))
    return graph.node("Where", some, normal, graph.doubles(1.0 / len(labels)))


def _share(leaf: Any) -> float:
    """Return how much a leaf's vote counts beside others: zero if it has seen nothing."""
    if leaf is None or not any(leaf.stats.values()):
        return 0.0
    error = leaf._mean_error.get() if isinstance(leaf, AdaLeafClassifier) else 0.0
    return 1.0 / error**2 if error else 1.0


def _asks_bayes(leaf: Any, estimator: Any) -> bool:
    """Return whether a leaf predicts by naive Bayes, and has seen enough to do so."""
    if leaf is None or not leaf.is_active() or not any(leaf.stats.values()):
        return False
    if estimator.leaf_prediction == "nba":
        return bool(leaf._nb_correct_weight >= leaf._mc_correct_weight)
    return estimator.leaf_prediction == "nb" and bool(leaf.total_weight >= estimator.nb_threshold)


def _prior(leaf: Any, bayes: bool, labels: Sequence[Label]) -> list[float]:
    """Return the logarithm of each class's share of a leaf."""
    stats = {} if leaf is None else leaf.stats
    total = sum(stats.values())
    # In naive Bayes, a class without weight votes exp(0) in River.
    nothing = 0.0 if bayes else NEVER
    return [
        NEVER if label not in stats else math.log(stats[label] / total) if stats[label] > 0.0 else nothing
        for label in labels
    ]


# Regression: means, and linear models


def regress(graph: Graph, frame: Frame, estimator: Any, roots: Sequence[Any]) -> str:
    """Compute double[N, trees]: each tree's prediction; `estimator` has the parameters of all of them."""
    if estimator.leaf_prediction != "mean":
        numbers_only(estimator, frame)
    trees = Trees.of(graph, frame, roots)
    models = [_model(leaf) for leaf in trees.leaves]
    constants = np.array([_constant(leaf, model) for leaf, model in zip(trees.leaves, models, strict=True)])
    matrix = trees.matrix
    if not trees.alternates and (matrix is None or models.count(None) == len(models)):
        return trees.sums(graph, constants)

    at = trees.reached(graph)
    values = graph.rows(constants, at)
    if matrix is not None:
        values = graph.node("Add", values, _slopes(graph, matrix, models, at))
    if not trees.alternates:
        return values
    # An adaptive tree answers with the mean of the leaf and the leaves beside it.
    counts = np.array([1.0 + len(beside) for beside in trees.beside])
    leaf = graph.node("Gather", at, graph.integers(0), axis=1)
    return graph.node("Div", graph.sum(values, 1, keep=True), graph.rows(counts, leaf))


def _slopes(graph: Graph, matrix: Block, models: Sequence[Any], at: str) -> str:
    """Compute what the features add to the predictions of the models in the leaves."""
    weights = np.zeros((len(models), matrix.width))
    for row, model in enumerate(models):
        if model is not None:
            weights[row] = matrix.row(partial(_get, model.weights), 0.0)
    values = matrix.tensor if matrix.complete else graph.present(matrix.tensor, matrix.tensor)
    values = graph.node("Unsqueeze", values, graph.integers(1))
    return graph.sum(graph.node("Mul", values, graph.rows(weights, at)), 2)


def _get(weights: dict[str, float], name: str) -> float:
    return weights.get(name, 0.0)


def _model(leaf: Any) -> Any:
    """Return the model that a leaf predicts with; None if it predicts the mean."""
    if isinstance(leaf, LeafAdaptive) and leaf._fmse_mean < leaf._fmse_model:
        return None
    return leaf._leaf_model if isinstance(leaf, LeafModel) else None


def _constant(leaf: Any, model: Any) -> float:
    if model is not None:
        return float(model.intercept)
    return 0.0 if leaf is None else float(leaf.stats.mean.get())
