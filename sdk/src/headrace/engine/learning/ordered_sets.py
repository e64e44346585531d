"""Sets that are iterated in the same order in every process.

The order in which Python iterates over a set of texts depends on PYTHONHASHSEED. River iterates over sets where the
order matters: a linear model adds up features in the order in which `Select` takes them, and a tree takes the first of
two splits that are equally good. The same log would therefore make different models in different processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any, TypeVar

from river import preprocessing
from river.tree.splitter import nominal_splitter_classif

_Value = TypeVar("_Value")


class SortedSet(set[_Value]):
    """A set that is iterated in the order of its values."""

    def __iter__(self) -> Iterator[_Value]:
        values = list(super().__iter__())
        try:
            return iter(sorted(values))  # type: ignore[type-var]
        except TypeError:
            return iter(sorted(values, key=repr))

    def __repr__(self) -> str:
        return repr(set(self))


# Leaves of trees create these sets while they learn, so they cannot be reached in a model that has not learned yet.
vars(nominal_splitter_classif)["set"] = SortedSet


def in_order(estimator: Any) -> Any:
    """Make an estimator iterate over its sets in one order, whatever process it is in; return the estimator."""
    _order(estimator, set())
    return estimator


def _order(value: Any, seen: set[int]) -> None:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, dict):
        for key, part in value.items():
            value[key] = _sort(part, seen)
    elif isinstance(value, list):
        value[:] = [_sort(part, seen) for part in value]
    elif isinstance(value, tuple):
        for part in value:
            _order(part, seen)
    elif hasattr(value, "__dict__") and not isinstance(value, type | FunctionType | ModuleType):
        _order(vars(value), seen)
        # Not by isinstance: a pipeline claims to be what its steps are.
        if type(value) is preprocessing.OneHotEncoder and value.categories is not None:
            _order_columns(value)


def _sort(value: Any, seen: set[int]) -> Any:
    if type(value) is set:
        return SortedSet(value)
    _order(value, seen)
    return value


def _order_columns(encoder: preprocessing.OneHotEncoder) -> None:
    """Put the columns of declared categories in order: the encoder has already made them from its sets."""
    names = [f"{name}_{value}" for name, values in encoder.values.items() for value in values]
    encoder._zero_dict = {name: 0 for name in names if name in encoder._zero_dict}
