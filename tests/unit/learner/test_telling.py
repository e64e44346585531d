"""The status of a learner process, for several models at once; and which models it learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest
import redis

from headrace.definition import LoopDefinition, ModelDefinition, Task
from headrace.errors import UnknownName
from headrace.runtime.readiness import Dependencies
from headrace.runtime.redis.status import Heartbeat, ServiceStatus, StatusBoard
from headrace.wire.topics import END_OF_HISTORY
from headrace_learner.bootstrap import chosen
from headrace_learner.telling import tell
from headrace_learner.worker import Standing, Worker
from tests.unit.learner.logs import definition


@dataclass
class _Standing:
    model: ModelDefinition
    standing: Standing


class _Board:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.written: list[ServiceStatus] = []

    def write(self, status: ServiceStatus) -> None:
        if self.error:
            raise self.error
        self.written.append(status)


def told(*standings: Standing, error: Exception | None = None) -> ServiceStatus:
    workers = [
        cast(Worker, _Standing(definition(f"m{index}", Task.BINARY, {"x": 1.0}), standing))
        for index, standing in enumerate(standings)
    ]
    heartbeat = Heartbeat(cast(StatusBoard, _Board(error)), ServiceStatus(service="learner", instance="one"))
    tell(workers, heartbeat, Dependencies())
    return heartbeat.status


def test_a_loop_without_models_is_told_too() -> None:
    status = told()
    assert (status.state, status.watermark, status.counters["examples"]) == ("ready", None, 0)


def test_a_status_sums_up_all_models() -> None:
    status = told(
        Standing("learning", 30, 20, 2, 10, 500, {"accuracy": 0.5}),
        Standing("standby", 7, 5, 1, 7, 400, {}, "disk is full"),
    )
    assert status.state == "ready"
    assert status.counters == {"examples": 17, "versions": 3, "dead_letters": 0}
    assert status.versions == {"m0": 20, "m1": 5}
    assert status.metrics == {"m0": {"accuracy": 0.5}}
    assert status.watermark == 500  # a standby for a model does not know how far it is
    assert status.note == "m1 stands by; m1 disk is full"


@pytest.mark.parametrize(
    ("states", "state"),
    [(("learning", "failed"), "failed"), (("learning", "starting"), "starting"), (("standby", "learning"), "ready")],
)
def test_the_state_is_that_of_the_model_that_hinders_most(states: tuple[str, ...], state: str) -> None:
    assert told(*(Standing(state) for state in states)).state == state


def test_a_watermark_that_is_not_known_yet_is_none() -> None:
    assert told(Standing("learning", release_watermark=-END_OF_HISTORY)).watermark is None
    assert told(Standing("learning", release_watermark=5), Standing("learning")).watermark is None


def test_a_store_that_is_away_does_not_stop_the_learner() -> None:
    assert told(Standing("learning"), error=redis.ConnectionError("away")).state == "ready"


def test_a_process_learns_all_models_or_those_named() -> None:
    models: Any = tuple(definition(name, Task.BINARY, {"x": 1.0}) for name in ("champion", "challenger"))
    loop = LoopDefinition("loop", (), (), (), models)
    assert chosen(loop, ()) == list(models)
    assert chosen(loop, ["challenger"]) == [models[1]]
    with pytest.raises(UnknownName, match="one of champion, challenger"):
        chosen(loop, ["champion", "chalenger"])
