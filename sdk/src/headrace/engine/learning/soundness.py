"""Check whether a model can still compute: one enormous value leaves infinity or NaN in it permanently."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

#: Attributes in which scalers and linear models keep what they have learned.
_KEPT = ("means", "vars", "weights", "_weights", "intercept")
#: Beyond this, a square may be infinite, and a difference may just be the larger of two numbers.
LARGEST = 1e100


def not_finite(estimator: Any) -> str | None:
    """Return the part of a pipeline with an unusable number, such as ``StandardScaler.vars['x']``; None: all are fine.

    Only scalers and linear models are checked: elsewhere infinity may have a meaning.
    """
    for step in _steps(estimator):
        for name in _KEPT:
            for key, value in _numbers(getattr(step, name, None)):
                if math.isnan(value) or abs(value) > LARGEST:
                    return f"{type(step).__name__}.{name}{key}"
    return None


def _steps(estimator: Any) -> Iterator[Any]:
    parts = getattr(estimator, "steps", None) or getattr(estimator, "transformers", None)
    if isinstance(parts, Mapping):
        for part in parts.values():
            yield from _steps(part)
    else:
        yield estimator


def _numbers(state: Any) -> Iterator[tuple[str, float]]:
    if isinstance(state, int | float):
        yield "", state
    elif isinstance(state, Mapping):
        yield from ((f"[{key!r}]", value) for key, value in state.items() if isinstance(value, int | float))
