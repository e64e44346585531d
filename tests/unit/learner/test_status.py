"""The status of a learner process, for several models at once; and which models it learns."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.definition import LoopDefinition, Task
from headrace.errors import UnknownName
from headrace.runtime.redis.status import ServiceStatus
from headrace.wire.topics import END_OF_HISTORY
from headrace_learner.app import selected_models
from headrace_learner.status import ModelStatus, report
from tests.unit.learner.logs import definition


def reported(*models: ModelStatus) -> ServiceStatus:
    status = ServiceStatus(service="learner", instance="one", state="ready")
    report(status, {f"m{index}": model for index, model in enumerate(models)})
    return status


def test_a_loop_without_models_has_a_status_too() -> None:
    status = reported()
    assert (status.state, status.watermark, status.counters["examples"]) == ("ready", None, 0)


def test_a_status_sums_up_all_models() -> None:
    status = reported(
        ModelStatus("learning", 30, 20, 2, 10, 500, {"accuracy": 0.5}),
        ModelStatus("standby", 7, 5, 1, 7, 400, {}, "disk is full"),
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
    assert reported(*map(ModelStatus, states)).state == state


def test_a_watermark_that_is_not_known_yet_is_none() -> None:
    assert reported(ModelStatus("learning", release_watermark=-END_OF_HISTORY)).watermark is None
    assert reported(ModelStatus("learning", release_watermark=5), ModelStatus("learning")).watermark is None


def test_a_process_learns_all_models_or_those_named() -> None:
    models: Any = tuple(definition(name, Task.BINARY, {"x": 1.0}) for name in ("champion", "challenger"))
    loop = LoopDefinition("loop", (), (), (), models)
    assert selected_models(loop, ()) == list(models)
    assert selected_models(loop, ["challenger"]) == [models[1]]
    with pytest.raises(UnknownName, match="one of champion, challenger"):
        selected_models(loop, ["champion", "chalenger"])
