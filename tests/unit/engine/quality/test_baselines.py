"""A baseline that learns many labels at once equals one that learns them one by one, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from headrace.engine.quality import BinaryBaseline, RegressionBaseline

WEIGHTS = [1.0, 0.1, 20.0, 1.0, 0.3, 0.7, 1.0]
LABELS = {
    BinaryBaseline: [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0],
    RegressionBaseline: [0.1, -3.0, 1e308, 1e308, 0.3, -0.0, 7e-310],
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("sizes", [(7,), (0, 3, 4), (1,) * 7])
def test_values_are_those_of_single_labels(
    kind: type[BinaryBaseline] | type[RegressionBaseline], sizes: tuple[int, ...]
) -> None:
    one, many = kind(), kind()
    labels, weights = np.array(LABELS[kind]), np.array(WEIGHTS)
    start = 0
    for size in sizes:
        rows = range(start, start + size)
        values = many.learn_all(labels[start : start + size], weights[start : start + size])
        expected = [(one.prior, one.last)]
        for row in rows:
            one.learn(bool(labels[row]) if kind is BinaryBaseline else float(labels[row]), float(weights[row]))
            expected.append((one.prior, one.last))
        assert repr(list(zip(*(column.tolist() for column in values), strict=True))) == repr(expected)
        assert repr(many) == repr(one)
        start += size
