"""The options of `headrace up`: how many processes, and which broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.cli.program import run
from headrace.embedded.processes import Supervisor, Surroundings
from headrace.errors import UnknownName


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--workers", "features=2"], "'features' is no service; use one of ingest, feature, learner, scorer"),
        (["--workers", "feature=0"], "'feature=0' does not say how many: write feature=2"),
        (["--workers", "feature"], "'feature' does not say how many: write feature=2"),
        (["--workers", "feature=-1"], "'feature=-1' does not say how many"),
        (["--pulsar-admin", "http://broker:8080"], "--pulsar-admin belongs to a broker of yours"),
        (["--pulsar", "official", "--pulsar-admin", "http://broker:8080"], "name it by --pulsar URL"),
    ],
)
def test_a_wrong_option_is_told(options: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["up", "loop.py", *options]) == 2
    assert told in capsys.readouterr().err


def test_a_service_that_is_none_has_no_workers(tmp_path: Path) -> None:
    surroundings = Surroundings("l", tmp_path, tmp_path, tmp_path, "pulsar://b:1", "redis://s:1")
    with pytest.raises(UnknownName, match="service is 'trainer', expected one of ingest, feature, learner, scorer"):
        Supervisor(surroundings, workers={"trainer": 2})


def test_each_process_is_told_its_broker_and_what_is_for_it_alone(tmp_path: Path) -> None:
    surroundings = Surroundings(
        "l",
        tmp_path,
        tmp_path,
        tmp_path,
        "pulsar://b:1",
        "redis://s:1",
        admin_url="http://b:2",
        namespace="t/n",
        environment=lambda instance: {"HEADRACE_PULSAR_URL": f"pulsar://proxy-of-{instance}:1"},
    )
    environment = surroundings.of("feature", "feature-1", "127.0.0.1:0")
    assert environment["HEADRACE_PULSAR_URL"] == "pulsar://proxy-of-feature-1:1"
    assert (environment["HEADRACE_PULSAR_ADMIN_URL"], environment["HEADRACE_NAMESPACE"]) == ("http://b:2", "t/n")
