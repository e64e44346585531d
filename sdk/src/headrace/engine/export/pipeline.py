"""Composition: pipelines, unions, and selections of features."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

from river import compose

from headrace.definition import Task
from headrace.engine.export import registry
from headrace.engine.export.frame import Frame, union
from headrace.engine.export.graph import Graph
from headrace.engine.export.registry import (
    Label,
    Predicting,
    Prediction,
    Transforming,
    Wanted,
    converts,
    predicting,
    refuse,
    transforming,
)


@converts(compose.Pipeline)
class Pipeline(Transforming, Predicting):
    """Converts a pipeline, step by step."""

    def check(self, estimator: Any) -> None:
        if not estimator.steps:
            refuse("Pipeline()")
        *steps, last = estimator.steps.values()
        for step in steps:
            registry.check(step)
            transforming(step)
        registry.check(last)

    def tasks_of(self, estimator: Any) -> frozenset[Task]:
        *_, last = estimator.steps.values()
        return predicting(last).tasks_of(last)

    def labels(self, estimator: Any) -> Collection[Label]:
        *_, last = estimator.steps.values()
        return predicting(last).labels(last)

    def names(self, estimator: Any) -> Collection[str]:
        *_, last = estimator.steps.values()
        return predicting(last).names(last)

    def transform(self, graph: Graph, estimator: Any, frame: Frame, names: Wanted) -> Frame:
        for step in estimator.steps.values():
            frame = transforming(step).transform(graph, step, frame, names)
        return frame

    def predict(self, graph: Graph, estimator: Any, frame: Frame, labels: Sequence[Label]) -> Prediction:
        *steps, last = estimator.steps.values()
        names = _Names(last)
        for step in steps:
            frame = transforming(step).transform(graph, step, frame, names)
        return predicting(last).predict(graph, last, frame, labels)


class _Names:
    """The names that an estimator has learned about, computed once, if at all (a tree takes long to answer)."""

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator

    def __call__(self) -> Collection[str]:
        return self._answer

    @cached_property
    def _answer(self) -> Collection[str]:
        return predicting(self._estimator).names(self._estimator)


@converts(compose.TransformerUnion)
class Union(Transforming):
    """Converts a union of transformers."""

    def check(self, estimator: Any) -> None:
        for transformer in estimator.transformers.values():
            registry.check(transformer)

    def transform(self, graph: Graph, estimator: Any, frame: Frame, names: Wanted) -> Frame:
        result = Frame()
        for transformer in estimator.transformers.values():
            part = transforming(transformer).transform(graph, transformer, frame, names)
            result = union(graph, result, part)
        return result


@converts(compose.Select)
class Select(Transforming):
    """River raises KeyError if a key is missing; here the feature just stays missing."""

    def transform(self, graph: Graph, estimator: Any, frame: Frame, names: Wanted) -> Frame:
        return frame.select(lambda _, name: name in estimator.keys, lambda name: name in estimator.keys)


@converts(compose.Discard)
class Discard(Transforming):
    """Converts a transformer that drops features."""

    def transform(self, graph: Graph, estimator: Any, frame: Frame, names: Wanted) -> Frame:
        return frame.select(lambda _, name: name not in estimator.keys, lambda name: name not in estimator.keys)


@converts(compose.SelectType)
class SelectType(Transforming):
    """A selection by type: numbers of a vector are float, those of a one-hot encoder int."""

    def transform(self, graph: Graph, estimator: Any, frame: Frame, names: Wanted) -> Frame:
        types = estimator.types
        return frame.select(
            lambda block, _: issubclass(int if block.whole else float, types), lambda _: issubclass(str, types)
        )
