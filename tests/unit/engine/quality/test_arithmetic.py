"""Sums of metrics: rounded once, in whatever way they are taken."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engine.quality.arithmetic import Weighting, exact_sum
from headrace.engine.quality.auc import exact_auc

VALUES = st.one_of(
    st.lists(st.sampled_from([0.0, -0.0, 1.0, 3.0, -2.0, 2.0**52, 2.0**53])),
    st.lists(st.floats(-1e300, 1e300)),
    st.lists(st.floats(-40.0, 40.0)),
    st.lists(st.floats(2.0**-45, 1.0), min_size=20).map(lambda values: [*values, -values[0] / 3.0]),
    st.lists(st.sampled_from([1.0 - 2.0**-53, 2.0**-53, 2.0**-54, -(2.0**-49), 5e-324, 2.0**34 - 2.0**-19, 2.0**34])),
    st.lists(st.sampled_from([math.nan, math.inf, 1.0])),
)


@given(VALUES)
def test_sum_is_that_of_fsum(values: list[float]) -> None:
    assert repr(exact_sum(np.array(values))) == repr(math.fsum(values))


def test_smallest_value_decides_a_tie() -> None:
    odd = 1.0 + 2.0**-52
    assert exact_sum(np.array([odd, 2.0**-53, -5e-324])) == odd
    assert exact_sum(np.array([odd, 2.0**-53])) > odd


def test_sum_of_losses_needs_no_fsum(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = -np.log(np.random.default_rng(1).random(5_000))
    expected = math.fsum(losses.tolist())
    monkeypatch.delattr(math, "fsum")
    assert exact_sum(losses) == expected
    assert exact_sum(-losses) == -expected


def test_mean_beyond_the_largest_float_is_infinite() -> None:
    assert Weighting(np.array([1.0, 3.0])).mean(np.array([4.0, 8.0])) == 7.0
    assert Weighting(np.ones(2)).mean(np.array([1.5e308, 1.5e308])) == math.inf
    assert Weighting(np.full(2, 1e308)).mean(np.array([1e-300, 0.5])) == math.inf


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.3, 0.9, math.nan]), st.booleans())))
def test_area_of_equal_weights_is_that_of_counts(rows: list[tuple[float, bool]]) -> None:
    scores, truth = np.array([row[0] for row in rows]), np.array([row[1] for row in rows], np.bool_)
    assert exact_auc(scores, truth, np.full(len(rows), 2.0)) == exact_auc(scores, truth)
