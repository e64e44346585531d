"""A model that one enormous value has spoiled is distinguished from one that can compute."""

from __future__ import annotations

from typing import Any

import pytest
from river.linear_model import LinearRegression, LogisticRegression
from river.preprocessing import StandardScaler
from river.tree import HoeffdingTreeClassifier

from headrace.engine.learning import not_finite
from headrace.engine.quality import NOT_FINITE, warning_of


@pytest.mark.parametrize("model", [StandardScaler() | LinearRegression(), StandardScaler() | LogisticRegression()])
def test_a_value_too_large_to_compute_with_is_found(model: Any) -> None:
    for number in range(50):
        model.learn_one({"x": float(number % 7), "z": 1.0}, number % 2 == 0)
    assert not_finite(model) is None
    for number in range(3):
        model.learn_one({"x": 1e200 if number < 2 else 1.0, "z": 1.0}, True)
    assert "['x']" in str(not_finite(model)) or "intercept" in str(not_finite(model))


def test_a_tree_may_hold_infinity() -> None:
    assert not_finite(StandardScaler() | HoeffdingTreeClassifier()) is None


def test_the_warning_says_what_to_do() -> None:
    warning = warning_of("m", {NOT_FINITE: 1.0, "worse_than_prior": 1.0})
    assert "clip" in str(warning)
    assert "worse" not in str(warning)
