from __future__ import annotations

from pathlib import Path

import pytest

from headrace import declare
from headrace.definition import LoopDefinition
from tests.reference.flights import flight_vectors

LOOP = Path(__file__).parents[3] / "examples/flights/loop.py"


@pytest.fixture(scope="module")
def loop() -> LoopDefinition:
    return declare.load(LOOP).definition


def test_the_reference_computes_the_features_that_the_loop_declares(loop: LoopDefinition) -> None:
    flight = {"flight": "UA1545-EWR-2013-01-01", "at": 0, "clock": 0, "distance": 1.0}
    flight |= dict.fromkeys(("carrier", "number", "origin", "dest", "tail"), "x")
    vectors = flight_vectors({"scheduled": [flight], "departed": [], "arrived": [], "weather": []})
    (model,) = loop.models
    assert set(vectors[str(flight["flight"])]) == {feature.name for feature in model.features}


@pytest.mark.parametrize("view", ["departures", "arrivals"])
@pytest.mark.parametrize("entity", ["carrier", "origin", "dest", "route", "tail"])
@pytest.mark.parametrize("window", ["3h", "24h"])
def test_the_model_knows_the_recent_delays_of_all_that_a_flight_depends_on(
    loop: LoopDefinition, view: str, entity: str, window: str
) -> None:
    names = {feature.name for feature in loop.model("late_arrival").features}
    assert f"{entity}_{view}.delay.{window}.signed_log" in names
