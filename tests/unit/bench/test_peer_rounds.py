"""Rounds of the benchmark of peers: turns, medians, spreads, ratios."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.bench.peers.host import Disturbance
from tests.bench.peers.rounds import Measure, Round, Spread, run_round, spread, summary, take_turn

QUIET = Disturbance(0.0, 0.0)
ALONE = Measure("score", "one score", "five", 5)
MANY = Measure("many", "many", "five", 80, in_flight=16)


@dataclass
class Clockwork:
    """A target whose times are known."""

    name: str
    seconds: float
    turns: list[str] = field(default_factory=list)

    async def times(self, model: str, size: int, calls: int) -> list[float]:
        self.turns.append(f"{self.name} {model} {size}")
        return [self.seconds * (call + 1) for call in range(calls)]

    async def rate(self, model: str, in_flight: int, calls: int) -> float:
        return in_flight / self.seconds


def rounds(*figures: dict[str, float]) -> list[Round]:
    return [Round("score", {name: {"p50_ms": value} for name, value in each.items()}, QUIET) for each in figures]


async def test_a_turn_has_percentiles_in_milliseconds() -> None:
    assert await take_turn(ALONE, Clockwork("a", 0.001)) == {"p50_ms": 3.0, "p99_ms": 4.96}


async def test_a_turn_with_many_in_flight_has_a_rate() -> None:
    assert await take_turn(MANY, Clockwork("a", 0.5)) == {"per_second": 32.0}


async def test_every_target_takes_its_turn_in_order() -> None:
    turns: list[str] = []
    found = await run_round(ALONE, [Clockwork("a", 0.001, turns), Clockwork("b", 0.002, turns)], pause=0)
    assert turns == ["a five 1", "b five 1"]
    assert found.measure == "score"
    assert found.figures["b"]["p50_ms"] == 6.0


def test_a_spread_is_the_median_with_the_ends() -> None:
    assert spread([3.0, 1.0, 9.0, 2.0]) == Spread(2.5, 1.0, 9.0)


def test_ratios_are_taken_round_by_round() -> None:
    # The machine became ten times slower in the last round, for both: the ratio is the same.
    found = summary(
        rounds({"h": 1.0, "p": 2.0}, {"h": 1.0, "p": 4.0}, {"h": 10.0, "p": 30.0}),
        "p",
        "p50_ms",
        headrace="h",
        floor="none",
    )
    assert found is not None
    assert found.value == Spread(4.0, 2.0, 30.0)
    assert found.to_headrace == Spread(3.0, 2.0, 4.0)
    assert found.to_floor is None


def test_a_target_without_figures_has_no_summary() -> None:
    assert summary(rounds({"h": 1.0}), "p", "p50_ms", headrace="h", floor="h") is None
