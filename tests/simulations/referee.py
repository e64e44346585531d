"""Simulate the referee where the truth is known: how often it decides wrongly, and how soon it decides rightly.

A question's truth is drawn so that the expected difference of the two candidates' log losses, given everything before
it, is exactly a chosen mean. The referee looks at each example. Wrong is a promotion or a rollback after which the mean
of these expectations since its comparison began is at most `better_by`. A fixed-sample test looks at the same examples.
Prints two tables; the exit code is 1 if a bound does not hold.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from headrace.engine.arrays import Floats
from headrace.engine.referee import Declare, Join, Kind, Metric, Referee, Rule
from headrace.engine.referee.confidence import BETS, WEIGHTS

BETTER_BY = 0.002
#: How much more than `BETTER_BY` the challenger is better in the table of power.
EXCESS = 0.01
POWER = 0.9
#: How many times the examples of the fixed-sample test the referee may take.
ALLOWED = 6
EXAMPLES = 20_000
RUNS, POWER_RUNS = 2_000, 200

# The fixed-sample test is asymptotic: it needs some examples to estimate a variance.
_FEWEST = 100
# Means that differ by less are equal: they are sums of floats.
_ROUNDING = 1e-9
_METRIC = Metric()


class Game(NamedTuple):
    """The losses of two candidates on the same questions, and the expected difference of each."""

    means: Floats
    champion: Floats
    challenger: Floats

    @property
    def differences(self) -> Floats:
        """How much smaller the challenger's losses are."""
        return self.champion - self.challenger


class Decision(NamedTuple):
    """The champion changes after the examples `since` < seq <= `seq`; the sign is -1 if it changes back."""

    sign: int
    since: int
    seq: int


Judge = Callable[[Rule, Game], list[Decision]]


def play(means: Floats, spread: float, random: np.random.Generator) -> Game:
    """Return a game of two classifiers whose scores are `spread` apart, in logits.

    With probabilities p and q of the champion and the challenger, the expected difference is linear in the probability
    of true, r: r ln(q / p) + (1 - r) ln((1 - q) / (1 - p)). It is solved for r.
    """
    logits = np.clip(random.normal(-1.0, 0.7, len(means)), -2.2, 2.2)
    gaps = spread * random.choice([-1.0, 1.0], len(means))
    champion, challenger = 1.0 / (1.0 + np.exp(-logits)), 1.0 / (1.0 + np.exp(-logits - gaps))
    truth = (means - np.log((1.0 - challenger) / (1.0 - champion))) / gaps
    assert truth.min() > 0.0
    assert truth.max() < 1.0
    outcomes = random.random(len(means)) < truth
    return Game(means, *(-np.log(np.where(outcomes, score, 1.0 - score)) for score in (champion, challenger)))


def alternating(examples: int) -> Floats:
    """Return means that change their sign, and whose mean from the first on is `BETTER_BY` at most, and often equal."""
    signs: list[float] = []
    size = examples // 200
    while len(signs) < examples:
        signs += [-1.0] * size + [1.0] * size
        size *= 2
    return BETTER_BY + 0.03 * np.array(signs[:examples])


def refereed(rule: Rule, game: Game) -> list[Decision]:
    """Return the decisions of the referee."""
    referee = Referee()
    referee.apply(Declare("champion", ("champion", "challenger"), rule))
    referee.apply(Join("challenger"))
    seqs = np.arange(len(game.means))
    referee.add("champion", seqs, seqs, game.champion)
    referee.add("challenger", seqs, seqs, game.challenger)
    return [
        Decision(1 if record.evidence.champion == "champion" else -1, record.evidence.since, record.evidence.seq)
        for record in referee.decide()
        if record.evidence is not None and record.kind is not Kind.RESTARTED
    ]


def fixed_sample(rule: Rule, game: Game) -> list[Decision]:
    """Return the decision of a one-sided z-test for a fixed number of examples, looked at after each."""
    counts = np.arange(1, len(game.means) + 1)
    means = np.cumsum(game.differences) / counts
    variances = np.cumsum(game.differences**2) / counts - means**2
    bound = NormalDist().inv_cdf(1.0 - rule.error_rate) * np.sqrt(np.maximum(variances, 0.0) / counts)
    return _first((means - rule.better_by > bound) & (counts >= _FEWEST))


def summed(rule: Rule, game: Game) -> list[Decision]:
    """Return the decision of the empirical Bernstein bound that needs sums alone, with the same share and mixture.

    It is theorem 2 of Choe and Ramdas (arXiv 2110.00115) with the mean of the differences before as the prediction.
    """
    scale = 2.0 * rule.width
    values = game.differences / scale
    before = np.concatenate(((0.0,), np.cumsum(values)[:-1] / np.arange(1, len(values))))
    sums, variances = np.cumsum(values - rule.better_by / scale), np.cumsum((values - before) ** 2)
    penalties = -np.log1p(-BETS) - BETS
    logs = np.multiply.outer(BETS, sums) - np.multiply.outer(penalties, variances) + np.log(WEIGHTS)[:, None]
    return _first(np.logaddexp.reduce(logs, axis=0) >= -math.log(rule.error_rate / 2.0))


def _first(shown: np.ndarray) -> list[Decision]:
    places = np.flatnonzero(shown)
    return [Decision(1, -1, int(places[0]))] if len(places) else []


def is_wrong(decisions: list[Decision], means: Floats) -> bool:
    """Return whether any decision is."""
    return any(
        sign * float(means[since + 1 : seq + 1].mean()) <= BETTER_BY + _ROUNDING for sign, since, seq in decisions
    )


class Wrong(NamedTuple):
    """The shares of runs with a wrong decision."""

    name: str
    referee: float
    fixed: float
    limit: float

    @property
    def holds(self) -> bool:
        """The referee keeps to its error rate, and the fixed-sample test does not."""
        return self.referee <= self.limit < self.fixed


class Power(NamedTuple):
    """The shares of runs in which the better challenger is promoted in time."""

    name: str
    fixed_examples: int
    referee: float
    summed: float
    ratio: float

    @property
    def holds(self) -> bool:
        """Most of the runs promote in time."""
        return self.referee >= POWER


def wrong_decisions(
    error_rate: float, *, runs: int = RUNS, examples: int = EXAMPLES, judge: Judge = refereed
) -> Iterator[Wrong]:
    """Yield how often decisions are wrong where no challenger is better."""
    boundary = np.full(examples, BETTER_BY)
    whole, tenth = _rule(error_rate, 10 * examples), _rule(error_rate, examples // 10)
    limit = error_rate + 3.0 * math.sqrt(error_rate * (1.0 - error_rate) / runs)
    for name, means, rule in (
        ("better_by", boundary, whole),
        ("better_by, 10 comparisons", boundary, tenth),
        ("changes sign", alternating(examples), whole),
        ("0", np.zeros(examples), whole),
    ):
        counts = np.zeros(2)
        for run in range(runs):
            game = play(means, 0.6, np.random.default_rng((run, examples)))
            counts += is_wrong(judge(rule, game), means), is_wrong(fixed_sample(rule, game), means)
        yield Wrong(name, counts[0] / runs, counts[1] / runs, limit)


def power(error_rate: float, spread: float, *, runs: int = POWER_RUNS, judge: Judge = refereed) -> Power:
    """Return how often, and when, a challenger that is better by `BETTER_BY` + `EXCESS` is promoted."""
    deviation = play(np.full(200_000, BETTER_BY + EXCESS), spread, np.random.default_rng(0)).differences.std()
    quantiles = NormalDist().inv_cdf(1.0 - error_rate) + NormalDist().inv_cdf(POWER)
    fixed = math.ceil((quantiles * deviation / EXCESS) ** 2)
    rule = _rule(error_rate, 10 * ALLOWED * fixed)
    means = np.full(ALLOWED * fixed, BETTER_BY + EXCESS)
    taken, by_sums = [], 0
    for run in range(runs):
        game = play(means, spread, np.random.default_rng((run, fixed)))
        taken += [decision.seq + 1 for decision in judge(rule, game)[:1]]
        by_sums += len(summed(rule, game))
    ratio = float(np.median(taken)) / fixed if taken else math.inf
    return Power(f"{deviation:.3f}", fixed, len(taken) / runs, by_sums / runs, ratio)


def _rule(error_rate: float, restart: int) -> Rule:
    """Return a rule for games in which each example takes one unit of time."""
    return Rule(metric=_METRIC, error_rate=error_rate, better_by=BETTER_BY, after=0, restart=restart)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--error-rate", type=float, default=0.01)
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    print(f"Wrong decisions in {options.runs} runs of {EXAMPLES} examples, error rate {options.error_rate}")
    print(f"{'true difference':27}{'referee':>9}{'fixed-sample test':>19}{'limit':>9}")
    held = []
    for row in wrong_decisions(options.error_rate, runs=options.runs):
        print(f"{row.name:27}{row.referee:9.4f}{row.fixed:19.4f}{row.limit:9.4f}", flush=True)
        held.append(row.holds)
    print(f"\nPromotions within {ALLOWED} x the examples of a fixed-sample test, true difference better_by + {EXCESS}")
    print(f"{'deviation':12}{'fixed-sample':>14}{'referee':>9}{'median':>9}{'sums alone':>12}")
    for spread in (0.2, 0.4, 0.6):
        result = power(options.error_rate, spread)
        print(
            f"{result.name:12}{result.fixed_examples:14}{result.referee:9.3f}{result.ratio:8.2f}x{result.summed:12.3f}",
            flush=True,
        )
        held.append(result.holds)
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
