"""Export of River models as ONNX; internal.

`check` finds out whether a model can be exported, `to_onnx` exports it, and `score_one` asks River for what the
exported model computes. There is one converter per estimator; a whole pipeline becomes one graph of double operators,
whose scores equal River's own to 1e-12.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import onnx

from headrace.definition import FieldType, Task
from headrace.engine.export import bayes, encoding, forest, linear, pipeline, registry, scalers, tree  # noqa: F401  (each registers its converters)
from headrace.engine.export.frame import Block, Frame
from headrace.engine.export.graph import Graph
from headrace.engine.export.registry import Label, predicting, refuse, supported
from headrace.engine.export.scoring import present, score_one

__all__ = ["Exported", "Feature", "check", "classes_of", "present", "score_one", "supported", "to_onnx"]


class Feature(Protocol):
    """An entry of a vector: a `headrace.definition.FeatureDefinition`, or anything with a name and a type."""

    @property
    def name(self) -> str: ...

    @property
    def type(self) -> FieldType: ...


@dataclass(frozen=True)
class Exported:
    """A model in ONNX form.

    Parameters
    ----------
    onnx
        The model. Its inputs are `numbers`, double[N, float features], where NaN is missing, and `categories`,
        string[N, string features], where "" is missing; an input without features is left out. Its output
        is `score`, double[N], or for a multiclass model `probabilities`, double[N, classes].
    classes
        The classes as text, in the order of the output: ("False", "True") for a binary model, those seen so far for a
        multiclass one, none for a regression.
    """

    onnx: bytes
    classes: tuple[str, ...]


def check(model: Any, features: Sequence[Feature] | None = None, task: Task | None = None) -> None:
    """Refuse a model that cannot be exported.

    Parameters
    ----------
    model
        A River pipeline or estimator, in the state in which the learner would start.
    features, task
        If both are given, also refuse a model that does not suit them: one that computes with text, or a regression for
        a binary label.

    Raises
    ------
    headrace.errors.UnsupportedLearner
        The error names the first estimator without a converter, or the parameter that has none.
    """
    registry.check(model)
    predicting(model).tasks_of(model)  # refuses a pipeline that ends without a classifier or a regressor
    if features is not None and task is not None:
        to_onnx(model, features, task)


def classes_of(model: Any, task: Task) -> tuple[str, ...]:
    """Return the classes of the model's scores as text, in the order of the export."""
    return tuple(str(label) for label in _labels(model, task))


def to_onnx(model: Any, features: Sequence[Feature], task: Task) -> Exported:
    """Export a model without changing it.

    The same model gives the same bytes. A model that has learned nothing can be exported, too: see `score_one`.

    Raises
    ------
    headrace.errors.UnsupportedLearner
        The model cannot be exported; `check` detects that beforehand.
    """
    registry.check(model)
    converter = predicting(model)
    if task not in converter.tasks_of(model):
        refuse(f"{_name(model)} of a {task} label")
    graph = Graph()
    frame = _inputs(graph, features)
    labels = _labels(model, task)
    prediction = converter.predict(graph, model, frame, labels or (None,))
    if task is Task.MULTICLASS:
        # If the model knows no class yet, no column is left.
        tensor = prediction.tensor if labels else graph.node("Gather", prediction.tensor, graph.integers(), axis=1)
        data = graph.finish(tensor, 1.0 / max(1, len(labels)), "probabilities", ("N", len(labels)))
    else:
        tensor = graph.column(prediction.tensor, 1) if prediction.by_class else prediction.tensor
        data = graph.finish(tensor, 0.5 if task is Task.BINARY else 0.0, "score", ("N",))
    return Exported(data, tuple(str(label) for label in labels))


def _labels(model: Any, task: Task) -> tuple[Label, ...]:
    if task is Task.BINARY:
        return (False, True)
    if task is Task.REGRESSION:
        return ()
    return tuple(sorted(predicting(model).labels(model), key=str))


def _inputs(graph: Graph, features: Sequence[Feature]) -> Frame:
    texts = [feature.name for feature in features if feature.type == FieldType.STRING]
    numbers = [feature.name for feature in features if feature.type != FieldType.STRING]
    if not features:
        raise ValueError("a model needs at least one feature")
    blocks: tuple[Block, ...] = ()
    if numbers:
        tensor = graph.input("numbers", onnx.TensorProto.DOUBLE, len(numbers))
        blocks = (Block(tensor, len(numbers), {name: column for column, name in enumerate(numbers)}),)
    if texts:
        graph.input("categories", onnx.TensorProto.STRING, len(texts))
    return Frame(blocks, {name: column for column, name in enumerate(texts)})


def _name(model: Any) -> str:
    while hasattr(model, "steps"):
        *_, model = model.steps.values()
    return type(model).__name__
