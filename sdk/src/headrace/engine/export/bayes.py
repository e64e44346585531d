"""Gaussian naive Bayes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from river import naive_bayes

from headrace.engine.export.frame import Frame
from headrace.engine.export.graph import Graph
from headrace.engine.export.linear import NEVER
from headrace.engine.export.registry import CLASSIFICATION, Label, Predicting, Prediction, converts, numbers_only

_FLOOR = 10e-10
"""River adds this to each density, so that none is 0."""


@converts(naive_bayes.GaussianNB)
class GaussianNaiveBayes(Predicting):
    """Densities with ddof 0, plus a floor; a missing feature contributes to no class."""

    tasks = CLASSIFICATION

    def labels(self, estimator: Any) -> Collection[Label]:
        return estimator.class_counts  # type: ignore[no-any-return]

    def names(self, estimator: Any) -> Collection[str]:
        return {name for gaussians in estimator.gaussians.values() for name in gaussians}

    def predict(self, graph: Graph, estimator: Any, frame: Frame, labels: Sequence[Label]) -> Prediction:
        numbers_only(estimator, frame)
        counts = estimator.class_counts
        total = sum(counts.values())
        prior = np.array([math.log(counts[label] / total) if label in counts else NEVER for label in labels])
        matrix = frame.matrix(graph)
        if matrix is None:
            return Prediction(graph.node("Softmax", graph.repeat(prior), axis=1), by_class=True)

        shape = (len(labels), matrix.width)
        means, deviations, heights = np.zeros(shape), np.ones(shape), np.zeros(shape)
        for row, label in enumerate(labels):
            gaussians = estimator.gaussians.get(label, {})
            for name, column in matrix.columns.items():
                gaussian = gaussians.get(name)
                if gaussian is None or not gaussian.sigma > 0.0:
                    continue
                means[row, column], deviations[row, column] = gaussian.mu, gaussian.sigma
                heights[row, column] = 1.0 / (math.sqrt(math.tau) * gaussian.sigma)

        values = graph.node("Unsqueeze", matrix.tensor, graph.integers(1))
        z = graph.node("Div", graph.node("Sub", values, graph.constant(means)), graph.constant(deviations))
        bell = graph.node("Exp", graph.node("Mul", graph.node("Mul", z, z), graph.doubles(-0.5)))
        density = graph.node("Mul", bell, graph.constant(heights))
        log = graph.node("Log", graph.node("Add", density, graph.doubles(_FLOOR)))
        if not matrix.complete:
            log = graph.present(log, values)
        logits = graph.node("Add", graph.sum(log, 2), graph.constant(prior))
        return Prediction(graph.node("Softmax", logits, axis=1), by_class=True)
