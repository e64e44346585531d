"""A small stream of payments with fraud: the examples of two models match the oracle's, and both are calibrated."""

from __future__ import annotations

import pytest

from tests.simulations.fraud.report import table
from tests.simulations.fraud.simulation import ALL, KEPT, Simulation, simulate

PAYMENTS = 20_000

#: How far `keep` may move the mean prediction, as a share of it. Learning honest payments with the weight 20 or 0 adds
#: a noise of rate · √(19 Σp²) ≈ 0.01 · √(19 · 0.24) ≈ 0.02 to the intercept, and half of that for each of six features:
#: the bound is three standard deviations.
BOUND = 0.10


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    simulated = simulate(PAYMENTS, 1, tmp_path_factory.mktemp("fraud"), print)
    print(table(simulated))
    return simulated


def test_examples_and_metrics_are_those_reckoned_apart(found: Simulation) -> None:
    assert found.differences == []
    assert min(found.counts.values()) > 0
    assert found.models[ALL]["examples"] == found.counts["closed"]
    assert found.models[KEPT]["examples"] + found.models[KEPT]["dropped"] == found.counts["closed"]


def test_keep_leaves_probabilities_as_they_are(found: Simulation) -> None:
    everything, kept_mean = found.metrics[ALL]["mean"], found.metrics[KEPT]["mean"]
    assert kept_mean == pytest.approx(everything, rel=BOUND)
    assert found.quality[f"{KEPT}, on all payments"].mean == pytest.approx(everything, rel=BOUND)


def test_without_weights_probabilities_would_be_off(found: Simulation) -> None:
    everything = found.quality[ALL]
    assert found.quality[f"{KEPT}, learned without weights"].mean > everything.mean * (1 + BOUND)
    assert found.quality[f"{KEPT}, measured without weights"].ece > 10 * everything.ece
