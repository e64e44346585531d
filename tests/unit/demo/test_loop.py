from __future__ import annotations

from pathlib import Path

import pytest

from headrace import compiler
from headrace.definition import LoopDefinition

LOOP = Path(__file__).parents[3] / "sdk/src/headrace/demo/loop.py"


@pytest.fixture(scope="module")
def loop() -> LoopDefinition:
    return compiler.load(LOOP).definition


@pytest.mark.parametrize("view", ["departures", "arrivals"])
@pytest.mark.parametrize("entity", ["carrier", "origin", "dest", "route", "tail"])
@pytest.mark.parametrize("window", ["3h", "24h"])
def test_the_model_knows_the_recent_delays_of_all_that_a_flight_depends_on(
    loop: LoopDefinition, view: str, entity: str, window: str
) -> None:
    names = {feature.name for feature in loop.model("late_arrival").features}
    assert f"{entity}_{view}.delay.{window}.signed_log" in names
