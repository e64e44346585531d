"""The confidence sequence: its definition, its bound by enumeration, and the same bits from all batches."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.engine.arrays import Floats
from headrace.engine.referee import Capital, ConfidenceSequence
from headrace.engine.referee.confidence import BETS, WEIGHTS

_ERROR = 0.05


def differences(count: int, seed: int = 3, *, mean: float = 0.03) -> Floats:
    return np.clip(np.random.default_rng(seed).normal(mean, 0.2, count), -1.0, 1.0)


def followed(values: Floats, sizes: list[int]) -> tuple[ConfidenceSequence, list[bool]]:
    sequence, shown, start = ConfidenceSequence(1.0, 0.01), [], 0
    for size in (*sizes, len(values)):
        shown += sequence.update(values[start : start + size], _ERROR).tolist()
        start += size
    return sequence, shown


@given(st.lists(st.integers(0, 300), max_size=8), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_batches_change_no_bit(sizes: list[int], seed: int) -> None:
    values = differences(900, seed)
    whole, shown = followed(values, [])
    assert followed(values, sizes) == (whole, shown)


def test_one_by_one_equals_all_at_once() -> None:
    values = differences(700)
    whole, shown = followed(values, [])
    assert followed(values, [1] * 700) == (whole, shown)
    assert True in shown
    assert False in shown


def test_the_capitals_are_the_exact_products() -> None:
    values, capital = differences(600), Capital()
    capital.bet(values, 1.0)
    for bet, mantissa, exponent in zip(BETS.tolist(), capital.mantissas, capital.exponents, strict=True):
        product = Fraction(1)
        for value in values.tolist():
            product *= 1 + Fraction(bet) * Fraction(value)
        assert float(Fraction(mantissa) * Fraction(2) ** exponent / product) == pytest.approx(1.0, abs=1e-12)


def test_the_weights_add_up_to_one_and_no_bet_can_lose_all() -> None:
    assert math.fsum(WEIGHTS.tolist()) <= 1.0 + 1e-15
    assert 0.0 < BETS.min() < BETS.max() < 1.0


def test_the_bound_holds_by_enumeration_though_the_mean_changes() -> None:
    """The expectation of the mixture at the true means, over all paths, is at most 1, and hardly less."""
    scale, anchor, steps = 1.1, 0.1, 9
    expectation = 0.0
    for path in itertools.product((0, 1), repeat=steps):
        chance, means, values = 1.0, 0.0, []
        for step, up in enumerate(path):
            # The chance depends on the steps before: the means alternate, and follow the path.
            probability = 0.2 + 0.5 * (step % 2) + 0.2 * (path[step - 1] if step else 0)
            chance *= probability if up else 1.0 - probability
            means += 2.0 * probability - 1.0
            values.append((1.0 if up else -1.0) - anchor)
        capital = Capital()
        capital.bet(np.array(values) / scale, 1.0)
        expectation += chance * sum(
            weight * mantissa * 2.0**exponent * math.exp(-bet * (means - steps * anchor) / scale)
            for weight, mantissa, exponent, bet in zip(
                WEIGHTS.tolist(), capital.mantissas, capital.exponents, BETS.tolist(), strict=True
            )
        )
    assert 0.5 < expectation <= 1.0


@pytest.mark.parametrize("mean", [-0.4, 0.0, 0.01, 0.05, 0.4])
def test_the_ends_solve_their_equation(mean: float) -> None:
    values = differences(500, mean=mean)
    sequence, _ = followed(values, [])
    lower, upper = sequence.interval(_ERROR)
    for end, sign, scale in ((lower, 1.0, 1.01), (upper, -1.0, 0.99)):
        gains = sign * (values - 0.01) / scale
        mixture = sum(
            weight * math.exp(np.log1p(bet * gains).sum() - bet * 500 * sign * (end - 0.01) / scale)
            for weight, bet in zip(WEIGHTS.tolist(), BETS.tolist(), strict=True)
        )
        assert mixture == pytest.approx(1.0 / _ERROR, rel=1e-6)
    assert lower < sequence.mean < upper


@given(st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_shown_is_a_lower_end_above_the_anchor(seed: int) -> None:
    values, sequence = differences(400, seed), ConfidenceSequence(1.0, 0.01)
    for start in range(0, 400, 20):
        shown = sequence.update(values[start : start + 20], _ERROR)[-1]
        lower, _ = sequence.interval(_ERROR)
        assert shown == (lower >= 0.01) or abs(lower - 0.01) < 1e-12


def test_the_interval_is_within_that_of_empirical_bernstein() -> None:
    """With the same scale, prediction and mixture, theorem 4 of Howard et al. (2021) refutes fewer means."""
    values = differences(800)
    sequence, _ = followed(values, [])
    lower, _ = sequence.interval(_ERROR)
    gains = (values - 0.01) / 1.01
    penalties = -np.log1p(-BETS) - BETS
    logs = BETS * (gains.sum() - 800 * (lower - 0.01) / 1.01) - penalties * (gains**2).sum()
    assert math.fsum((WEIGHTS * np.exp(logs)).tolist()) < 1.0 / _ERROR


def test_a_long_loss_neither_overflows_nor_vanishes() -> None:
    sequence = ConfidenceSequence(1.0, 0.01)
    sequence.update(np.full(50_000, -1.0), _ERROR)
    lower, upper = sequence.interval(_ERROR)
    assert -1.0 <= lower <= upper < -0.9
    sequence.update(np.full(400_000, 1.0), _ERROR)
    lower, upper = sequence.interval(_ERROR)
    assert 0.5 < lower < sequence.mean < upper <= 1.0


def test_nothing_is_known_before_the_first_example() -> None:
    sequence = ConfidenceSequence(1.0, 0.01)
    assert (sequence.mean, sequence.interval(_ERROR)) == (0.0, (-1.0, 1.0))
    assert not len(sequence.update(np.zeros(0), _ERROR))
