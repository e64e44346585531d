"""The simulation in short; `python -m tests.simulations.referee` prints the tables of the long one."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from headrace.engine.referee import Rule
from tests.simulations import referee as simulation
from tests.simulations.referee import BETTER_BY, Decision, Game, Judge, fixed_sample, power, wrong_decisions

_ERROR_RATE = 0.01
_SHORT = partial(wrong_decisions, _ERROR_RATE, runs=150, examples=4_000)
_SHORT_POWER = partial(power, _ERROR_RATE, 0.4, runs=30)


def never(rule: Rule, game: Game) -> list[Decision]:
    return []


def at_once(rule: Rule, game: Game) -> list[Decision]:
    return [Decision(1, -1, 0)]


def test_the_referee_is_seldom_wrong_and_a_fixed_sample_test_often() -> None:
    assert [row.name for row in _SHORT() if not row.holds] == []


@pytest.mark.parametrize("judge", [at_once, fixed_sample])
def test_a_referee_that_promotes_too_soon_fails(judge: Judge) -> None:
    assert not all(row.holds for row in _SHORT(judge=judge))


def test_a_better_challenger_is_promoted_in_time() -> None:
    assert _SHORT_POWER().holds


def test_a_referee_that_never_promotes_fails() -> None:
    assert not _SHORT_POWER(judge=never).holds


def test_the_games_have_the_means_that_they_are_said_to_have() -> None:
    for means in (np.full(200_000, BETTER_BY), simulation.alternating(200_000)):
        differences = simulation.play(means, 0.6, np.random.default_rng(4)).differences
        for part in (means > 0, means <= 0):
            error = (differences - means)[part].sum() / max(1, part.sum()) ** 0.5 / differences.std()
            assert abs(error) < 3.0


def test_alternating_means_are_never_better_by_more() -> None:
    means = simulation.alternating(20_000)
    running = np.cumsum(means) / np.arange(1, 20_001)
    assert running.max() <= BETTER_BY + 1e-9
    assert (running > BETTER_BY - 1e-9).sum() >= 6
    assert len(set(np.sign(means))) == 2


def test_a_wrong_decision_is_one_below_the_bound() -> None:
    means = np.array([0.0, 0.0, 0.1])
    assert not simulation.is_wrong([], means)
    assert simulation.is_wrong([Decision(1, -1, 1)], means)
    assert not simulation.is_wrong([Decision(1, -1, 2)], means)
    assert simulation.is_wrong([Decision(1, -1, 2), Decision(-1, 1, 2)], means)
