"""The registry of converters: one small class for each estimator, found by the estimator's exact type.

A subclass of a supported estimator may predict differently, so it needs a converter of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, TypeVar

from headrace.definition import Task
from headrace.engine.export.frame import Frame
from headrace.engine.export.graph import Graph
from headrace.errors import UnsupportedLearner

Label = Hashable
"""A class in River's form: a bool in binary tasks, a str in multiclass ones."""

Wanted = Callable[[], Collection[str]]
"""Returns the names of the features that the final estimator has learned about."""


@dataclass(frozen=True)
class Prediction:
    """A double[N]; by class, a double[N, number of labels]."""

    tensor: str
    by_class: bool = False


class Converter:
    """A converter for estimators of one type.

    It only reads the estimator: even a prediction would add keys to some of River's dictionaries.
    """

    def check(self, estimator: Any) -> None:
        """Refuse parameters that have no equivalent in ONNX."""


class Transforming(Converter, ABC):
    """A converter for transformers."""

    @abstractmethod
    def transform(self, graph: Graph, estimator: Any, frame: Frame, names: Wanted) -> Frame:
        """Add `transform_one` to the graph."""


class Predicting(Converter, ABC):
    """A converter for classifiers and regressors."""

    tasks: ClassVar[frozenset[Task]]

    def tasks_of(self, estimator: Any) -> frozenset[Task]:
        """Return the tasks that it can learn."""
        return self.tasks

    def labels(self, estimator: Any) -> Collection[Label]:
        """Return the classes that a classifier has seen."""
        return ()

    @abstractmethod
    def names(self, estimator: Any) -> Collection[str]:
        """Return the features that it has learned about."""

    @abstractmethod
    def predict(self, graph: Graph, estimator: Any, frame: Frame, labels: Sequence[Label]) -> Prediction:
        """Add `predict_proba_one` or `predict_one` to the graph; `labels` gives the order of the classes."""


CLASSIFICATION = frozenset({Task.BINARY, Task.MULTICLASS})
REGRESSION = frozenset({Task.REGRESSION})

_converters: dict[type, Converter] = {}
_Class = TypeVar("_Class", bound=type[Converter])


def converts(estimator: type) -> Callable[[_Class], _Class]:
    """Register a converter for a type of estimators."""

    def register(converter: _Class) -> _Class:
        _converters[estimator] = converter()
        return converter

    return register


def types() -> tuple[type, ...]:
    """Return the estimators that have a converter."""
    return tuple(_converters)


def supported() -> tuple[str, ...]:
    """Return the names of the estimators that have a converter."""
    return tuple(sorted(estimator.__name__ for estimator in _converters))


def refuse(subject: str) -> NoReturn:
    """Raise `UnsupportedLearner`, naming an estimator and its part without a converter."""
    raise UnsupportedLearner(subject, supported())


def transforming(estimator: Any) -> Transforming:
    """Return the converter of a step that must be a transformer."""
    converter = _converter(estimator)
    if not isinstance(converter, Transforming):
        refuse(f"{type(estimator).__name__} before the last step of a pipeline")
    return converter


def predicting(estimator: Any) -> Predicting:
    """Return the converter of a step that must be a classifier or a regressor."""
    converter = _converter(estimator)
    if not isinstance(converter, Predicting):
        refuse(f"{type(estimator).__name__} as the last step of a model")
    return converter


def numbers_only(estimator: Any, frame: Frame) -> None:
    """Refuse text features, since River computes with numbers here."""
    if frame.texts:
        refuse(f"{type(estimator).__name__} over the text feature {next(iter(frame.texts))!r} (encode it before)")


def check(estimator: Any) -> None:
    """Refuse an estimator without a converter, or with a parameter that its converter does not support."""
    _converter(estimator).check(estimator)


def _converter(estimator: Any) -> Converter:
    converter = _converters.get(type(estimator))
    if converter is None:
        function = getattr(estimator, "func", None)
        refuse(type(estimator).__name__ + (f"({getattr(function, '__name__', '…')})" if function else ""))
    return converter
