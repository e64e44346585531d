"""Naive Bayes in the leaves of trees: the contribution of each feature to each class, as tables by leaf."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from river.tree.splitter import GaussianSplitter
from river.tree.splitter.nominal_splitter_classif import NominalSplitterClassif

from headrace.engine.export.ensemble import Trees
from headrace.engine.export.graph import ML, Graph
from headrace.engine.export.registry import Label

_HALF_LOG_TAU = 0.5 * math.log(math.tau)


def evidence(graph: Graph, trees: Trees, leaves: Sequence[Any], at: str, *, labels: Sequence[Label]) -> list[str]:
    """Return logarithms to be added for each class, each double[N, trees, labels].

    Parameters
    ----------
    leaves
        The leaves that use naive Bayes, and None for the others.
    at
        int64[N, trees]: the leaves that were reached.
    """
    parts = (_densities(graph, trees, leaves, at, labels=labels), _frequencies(graph, trees, leaves, at, labels=labels))
    return [part for part in parts if part is not None]


def _observations(trees: Trees, leaves: Sequence[Any], kind: type) -> Iterator[tuple[int, Any, str, int, Any]]:
    """Yield what each leaf saw of each feature: the leaf's number and itself, the feature, its column, the observer."""
    columns = trees.matrix.columns if trees.matrix else {}
    for row, leaf in enumerate(leaves):
        if leaf is not None:
            for name, splitter in leaf.splitters.items():
                if type(splitter) is kind and name in columns:
                    yield row, leaf, name, columns[name], splitter


def _densities(graph: Graph, trees: Trees, leaves: Sequence[Any], at: str, *, labels: Sequence[Label]) -> str | None:
    """Compute normal densities of numbers, with ddof 1; a value seen once, or without variance, contributes nothing."""
    matrix = trees.matrix
    if matrix is None:
        return None
    row_of = {label: row for row, label in enumerate(labels)}
    cells: list[int] = []
    moments: list[tuple[float, float]] = []
    for leaf_row, leaf, _, column, splitter in _observations(trees, leaves, GaussianSplitter):
        for label, gaussian in splitter._att_dist_per_class.items():
            if leaf.stats.get(label, 0.0) > 0.0:
                spread = gaussian._var
                mean = spread.mean
                variance = spread._S / (mean.n - spread.ddof) if mean.n > spread.ddof else 0.0
                if variance > 0.0:
                    cells.append((leaf_row * len(labels) + row_of[label]) * matrix.width + column)
                    moments.append((mean._mean, variance))
    if not cells:
        return None
    shape = (len(leaves), len(labels), matrix.width)
    means, spreads, offsets = np.zeros(shape), np.full(shape, np.inf), np.zeros(shape)
    means.flat[cells], variances = np.array(moments).T
    spreads.flat[cells] = -2.0 * variances
    offsets.flat[cells] = -_HALF_LOG_TAU - 0.5 * np.log(variances)
    values = graph.node("Unsqueeze", matrix.tensor, graph.integers(1, 2))
    distance = graph.node("Sub", values, graph.rows(means, at))
    square = graph.node("Mul", distance, distance)
    logs = graph.node("Add", graph.node("Div", square, graph.rows(spreads, at)), graph.rows(offsets, at))
    if not matrix.complete:
        logs = graph.present(logs, values)
    return graph.sum(logs, 3)


def _frequencies(graph: Graph, trees: Trees, leaves: Sequence[Any], at: str, *, labels: Sequence[Label]) -> str | None:
    """Look up frequencies of nominal values; a value that a class was never seen with contributes nothing.

    Each (leaf, feature, value) that was seen has a row in one table. The row's number is looked up by a key: the index
    that the triple would have if all leaves had seen all values of all features.
    """
    observations = list(_observations(trees, leaves, NominalSplitterClassif))
    if not observations:
        return None
    features = sorted({(column, name) for _, _, name, column, _ in observations})
    place = {name: number for number, (_, name) in enumerate(features)}
    values = sorted({trees.code(value) for *_, splitter in observations for value in splitter._att_values})
    code = {value: number for number, value in enumerate(values)}

    keys: list[int] = []
    table = [[0.0] * len(labels)]
    for row, leaf, name, _, splitter in observations:
        by_label = [_shares(leaf, splitter, label) for label in labels]
        for value in sorted(splitter._att_values, key=trees.code):
            keys.append((row * len(features) + place[name]) * len(values) + code[trees.code(value)])
            table.append([shares.get(value, 0.0) for shares in by_label])

    assert trees.matrix is not None
    columns = graph.integers(*(column for column, _ in features))
    seen = graph.node("Gather", trees.matrix.tensor, columns, axis=1)
    coded = _lookup(graph, seen, np.array(values), np.arange(len(values), dtype=np.float64), default=np.array([np.nan]))
    offsets = graph.constant(np.arange(len(features), dtype=np.float64) * len(values))
    in_leaf = graph.node("Unsqueeze", graph.node("Add", coded, offsets), graph.integers(1))
    base = graph.node("Mul", graph.double(at), graph.doubles(float(len(features) * len(values))))
    key = graph.node("Add", graph.node("Unsqueeze", base, graph.integers(2)), in_leaf)
    rows = _lookup(graph, key, np.array(keys, dtype=np.float64), np.arange(1, len(keys) + 1), default=np.array([0]))
    return graph.sum(graph.rows(np.array(table), rows), 2)


def _shares(leaf: Any, splitter: Any, label: Label) -> dict[Any, float]:
    """Return the logarithm of each value's share of a class in a leaf, if it has one."""
    weights = splitter._att_dist_per_class.get(label)
    if not weights or not leaf.stats.get(label, 0.0) > 0.0:
        return {}
    total = sum(weights.values())
    return {value: math.log(weight / total) for value, weight in weights.items() if weight > 0.0}


def _lookup(graph: Graph, of: str, keys: Any, values: Any, *, default: Any) -> str:
    return graph.node("LabelEncoder", of, domain=ML, keys_tensor=keys, values_tensor=values, default_tensor=default)
