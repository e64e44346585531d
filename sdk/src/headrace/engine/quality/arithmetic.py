"""Sums and logarithms that do not depend on how the examples were batched.

NumPy's reductions add pairwise and its vectorised logarithm may differ in the last bit between the body and
the tail of an array. A running sum is added strictly in order, and libm's logarithm is a single function.
"""

from __future__ import annotations

import math

import numpy as np

from headrace.engine.arrays import Bools, Floats

#: Probabilities are kept this far from 0 and 1 before their logarithm is taken.
EPSILON = 1e-15

#: Below it, each integer is a float.
_INTEGERS = 2.0**53

# The bits of a part, the number of parts, and a number of values whose parts add up to less than 2^53.
_PART, _PARTS, _MOST_VALUES = 34, 3, 2**18


def are_true(labels: Floats) -> Bools:
    """Return which labels of a binary task are true: the log holds 0 or 1."""
    return labels > 0.5


def running(start: float, values: Floats) -> Floats:
    """Return `start`, and its sums with the first 1, 2, ... values, added one after the other."""
    return np.add.accumulate(np.concatenate(((start,), values)))


def log_losses(probabilities: Floats) -> Floats:
    """Return -log of the probabilities given to what came true. NaN counts as 0, the worst."""
    clipped = np.clip(np.nan_to_num(probabilities, nan=0.0), EPSILON, 1.0 - EPSILON)
    return -np.array(list(map(math.log, clipped.tolist())), np.float64)


def total(start: float, values: Floats) -> float:
    """Return the sum of `start` and the values, added one after the other."""
    return float(running(start, values)[-1])


def exact_sum(values: Floats) -> float:
    """Return the sum, rounded once: it does not depend on the order of the values.

    Raises
    ------
    OverflowError
        It is beyond the largest float.
    """
    largest = float(np.abs(values).max(initial=0.0))
    if len(values) * largest < _INTEGERS and (values == np.floor(values)).all():
        # No sum of such integers is rounded; adding 0 makes -0 to 0, as `fsum` does.
        return float(values.sum()) + 0.0
    parts_sum = _sum_of_parts(values, largest)
    # A list is many times faster to walk through than an array.
    return math.fsum(values.tolist()) if parts_sum is None else parts_sum


def _sum_of_parts(values: Floats, largest: float) -> float | None:
    """Return the sum, rounded once, of values that are cut into parts: four times as fast as `fsum`.

    Each part is an integer, and so are the sums of the parts: none of them is rounded. The parts hold values down to
    2^-48 of the largest one. The result is None if there are smaller ones, too many, or if the largest one is too large
    to be scaled without losing the smallest.
    """
    if len(values) > _MOST_VALUES or not 0.0 < largest < 2.0**_PART:
        return None
    exponent = math.frexp(largest)[1]
    rest, total = np.ldexp(values, _PART - exponent), 0
    for _ in range(_PARTS):
        part = np.trunc(rest)
        total = (total << _PART) + int(part.sum())
        rest = np.ldexp(rest - part, _PART)
    # A quotient of two integers is rounded once, too.
    return None if rest.any() else total / (1 << (_PARTS * _PART - exponent))


class Weighting:
    """Weights of rows, under which means are taken whatever the order of the rows."""

    def __init__(self, weights: Floats) -> None:
        self._weights = weights
        self._sum = _sum_or_none(weights)

    def mean(self, values: Floats) -> float:
        """Return Σ wᵢ vᵢ / Σ wᵢ; infinite if one of the sums is beyond the largest float."""
        weighted_sum = _sum_or_none(values * self._weights)
        return math.inf if weighted_sum is None or self._sum is None else weighted_sum / self._sum


def _sum_or_none(values: Floats) -> float | None:
    """Return the sum; None if it is beyond the largest float."""
    try:
        return exact_sum(values)
    except OverflowError:
        return None
