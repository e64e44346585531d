"""Losses within a known range, and the shares of the error rate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from headrace.engine.referee import Loss, Metric, Rule, share

_SCORES, _LABELS = np.array([0.8, 0.8, 1.0, 0.0, math.nan]), np.array([1.0, 0.0, 0.0, 0.0, 1.0])


def test_log_loss_of_clipped_probabilities() -> None:
    losses = Metric().losses(_SCORES, _LABELS)
    expected = [-math.log(0.8), -math.log(0.2), -math.log(0.01), -math.log(0.99), -math.log(0.01)]
    assert losses.tolist() == pytest.approx(expected)


def test_brier_and_errors() -> None:
    assert Metric(Loss.BRIER).losses(_SCORES, _LABELS).tolist() == pytest.approx([0.04, 0.64, 1.0, 0.0, 1.0])
    scores, labels = np.array([1.0, 5.0, math.nan, 1e308]), np.array([3.0, 4.5, 1.0, -1e308])
    assert Metric(Loss.ABSOLUTE, limit=1.5).losses(scores, labels).tolist() == [1.5, 0.5, 1.5, 1.5]
    assert Metric(Loss.SQUARED, limit=3.0).losses(scores, labels).tolist() == [3.0, 0.25, 3.0, 3.0]


@pytest.mark.parametrize("loss", list(Loss))
def test_losses_are_within_their_range(loss: Loss) -> None:
    metric, random = Metric(loss, limit=0.7), np.random.default_rng(1)
    losses = metric.losses(random.random(500) * 1.5 - 0.2, random.integers(0, 2, 500).astype(float))
    assert losses.min() >= metric.lowest
    assert losses.max() <= metric.highest
    assert metric.bounded(np.array([math.nan, math.inf, -math.inf])).tolist() == [
        metric.highest,
        metric.highest,
        metric.lowest,
    ]


@pytest.mark.parametrize("wrong", [{"epsilon": 0.0}, {"epsilon": 0.5}, {"limit": 0.0}, {"limit": math.inf}])
def test_metrics_that_cannot_be(wrong: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        Metric(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"error_rate": 0.0}, {"error_rate": 1.0}, {"better_by": -0.1}, {"better_by": 3.0}, {"after": -1}]
)
def test_rules_that_cannot_be(wrong: Any) -> None:
    with pytest.raises(ValueError, match="must"):
        Rule(**wrong)


def test_all_shares_together_are_the_error_rate() -> None:
    shares = [share(0.01, number) for number in range(1, 2_001)]
    assert math.fsum(shares) == pytest.approx(0.01 - 0.01 / 2_001)
    assert shares == sorted(shares, reverse=True)
