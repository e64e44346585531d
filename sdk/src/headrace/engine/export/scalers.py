"""Scalers: a shift and a divisor for each feature, applied only when needed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from river import preprocessing

from headrace.engine.export.frame import Frame
from headrace.engine.export.graph import Graph
from headrace.engine.export.registry import Transforming, Wanted, converts, numbers_only, refuse


@converts(preprocessing.StandardScaler)
class StandardScaling(Transforming):
    """Converts a scaler to zero mean and unit variance."""

    def transform(self, graph: Graph, estimator: Any, frame: Frame, names: Wanted) -> Frame:
        numbers_only(estimator, frame)

        def divisor(name: str) -> float:
            variance = _statistic(estimator.vars, name, 0.0)
            # A feature without variance becomes 0, as every number divided by infinity does.
            return float(variance**0.5) if variance else math.inf

        blocks = (
            block.scaled(
                graph,
                lambda name: _statistic(estimator.means, name, 0.0),
                divisor if estimator.with_std else None,
            )
            for block in frame.blocks
        )
        return replace(frame, blocks=tuple(blocks))


@converts(preprocessing.MinMaxScaler)
class MinMaxScaling(Transforming):
    """Converts a scaler to the range from 0 to 1."""

    def check(self, estimator: Any) -> None:
        if estimator.window_size is not None:
            # River's raises TypeError for a feature that it has never seen: no model could predict before
            # it has learned.
            refuse(f"MinMaxScaler(window_size={estimator.window_size})")

    def transform(self, graph: Graph, estimator: Any, frame: Frame, names: Wanted) -> Frame:
        numbers_only(estimator, frame)
        # For a feature that it never saw, River's scaler returns NaN, and no later step has learned about it either:
        # leaving it out is equivalent.
        seen = frame.select(lambda _, name: name in estimator.min, lambda _: False)

        def low(name: str) -> float:
            return _statistic(estimator.min, name, 0.0)

        def divisor(name: str) -> float:
            return (_statistic(estimator.max, name, 0.0) - low(name)) or math.inf

        return replace(seen, blocks=tuple(block.scaled(graph, low, divisor) for block in seen.blocks))


def _statistic(statistics: Any, name: str, default: float) -> float:
    """Return a feature's statistic, without adding an entry to a defaultdict."""
    value = statistics.get(name, default)
    return float(value.get() if hasattr(value, "get") else value)
