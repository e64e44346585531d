"""Output of commands about what was sent, scored, replayed and refused, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from msgspec import structs

from headrace.cli import score, send, sending, skip, up
from headrace.cli.dead_letters.editing import as_sent, check_fields
from headrace.cli.error_text import Refused
from headrace.cli.replay import _choose
from headrace.cli.replay_report import Counts, sum_up
from headrace.cli.running_target import Target
from headrace.compiler import load
from headrace.definition import LoopDefinition
from headrace.errors import InvalidRequest, Unavailable, UnknownName
from headrace.history import StateIsThere
from headrace.history.alterations import Alterations
from headrace.runtime.pulsar.dead_letters import StoredDeadLetter
from headrace.runtime.redis.status import ServiceStatus, StoppedModel
from headrace.v1.dead_letter_pb2 import DeadLetter
from headrace.wire.position import START

FLIGHTS = Path(__file__).parents[3] / "sdk/src/headrace/demo/loop.py"


STOPPED = StoppedModel(id="P9", entry=9, question=8, position="0:9", reason="too large")


class StoppedTarget(Target):
    """A running loop whose model `late` has stopped at an example."""

    def statuses(self, silent: bool = False) -> list[ServiceStatus]:
        return [ServiceStatus(service="learner", instance="0", stopped={"late": STOPPED})]


@pytest.fixture(scope="module")
def flights() -> LoopDefinition:
    return load(FLIGHTS).definition


@pytest.mark.parametrize(("rejected", "code"), [(0, 0), (3, 4)])
def test_rejected_rows_are_refused_input(rejected: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert sending.tell_outcome(False, "sent", {"rejected": rejected}) == code
    assert capsys.readouterr().out == "sent\n"


def test_an_address_alone_lacks_the_definition(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEADRACE_DATA", raising=False)
    with pytest.raises(click.UsageError, match="--address needs --definition too"):
        send._target("ingest:8000", None, None, None, redis=None)
    assert send._target("ingest:8000", FLIGHTS, None, None, redis=None).redis == ""


def test_a_field_that_the_stream_lacks_is_not_set(flights: LoopDefinition) -> None:
    letter = StoredDeadLetter(START, DeadLetter(stream="arrived"))
    check_fields(letter, {"arrival_delay": 4}, flights)
    with pytest.raises(InvalidRequest, match=r"of stream arrived\. Did you mean 'arrival_delay'"):
        check_fields(letter, {"arival_delay": 4}, flights)
    # The fields of a loop declared elsewhere are unknown.
    check_fields(letter, {"arival_delay": 4}, None)


def test_an_event_of_a_topic_is_sent_as_its_stream_writes_times(flights: LoopDefinition) -> None:
    event = b'{"at": 1767225600000000, "n": 1}'
    (stream, *others) = flights.streams
    seconds = structs.replace(flights, streams=(structs.replace(stream, time_format="s"), *others))
    letters = {
        name: StoredDeadLetter(START, DeadLetter(stream=stream.name, service=name, event=event))
        for name in ("ingest", "fold")
    }
    time = next(field.name for field in stream.fields if field.name == stream.time)
    found = json.loads(as_sent(letters["fold"], seconds).message.event.replace(b'"at"', f'"{time}"'.encode()))
    assert found == {time: "2026-01-01T00:00:00Z", "n": 1}
    assert as_sent(letters["ingest"], seconds).message.event == event
    assert as_sent(letters["fold"], flights).message.event == event


@pytest.mark.parametrize(
    ("age_s", "text"),
    [(1.5, "1.5 s old"), (79_680.0, "22h08m old"), (-79_674.1, "row is 22h07m ahead"), (None, "")],
)
def test_an_age_before_the_row_is_shown(age_s: float | None, text: str) -> None:
    assert score._age(age_s) == text


def test_a_replay_tells_why_predictions_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    sum_up({"fraudulent": Counts(vectors=4, unscored=4)}, Alterations(), False, True, as_json=False)
    sum_up({"late": Counts(vectors=1, predictions=1, versions={5})}, Alterations(), False, True, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "fraudulent: 4 vectors at their cuts, 0 predictions of 0 versions "
        "(4 asked before this definition had a version), 0 examples: no difference",
        "late: 1 vector at their cuts, 1 prediction of 1 version, 0 examples: no difference",
    ]


@pytest.mark.parametrize(
    ("selected", "note"),
    [(False, "no vector is logged yet"), (True, "no logged vector matches --id, --from and --to")],
)
def test_a_replay_says_why_it_is_empty(selected: bool, note: str, capsys: pytest.CaptureFixture[str]) -> None:
    sum_up({"late": Counts()}, Alterations(), False, True, selected=selected, as_json=False)
    assert capsys.readouterr().err == f"late: {note} (of this definition of the model)\n"


def test_a_store_that_has_lost_nothing_is_not_rebuilt() -> None:
    assert str(StateIsThere("payments")).startswith("the store has lost nothing of payments; use --again to rebuild")


def test_only_an_example_that_a_model_has_stopped_at_is_skipped() -> None:
    target = StoppedTarget("flights", "redis://flights")
    with pytest.raises(Refused, match="early has not stopped at an example: nothing to skip"):
        skip._stopped_model(target, "early", "P3")
    with pytest.raises(Refused, match="late has stopped at example 'P9', not at 'P3'"):
        skip._stopped_model(target, "late", "P3")
    assert skip._stopped_model(target, "late", "P9") is STOPPED


def test_a_model_that_is_none_is_quoted_once(flights: LoopDefinition) -> None:
    with pytest.raises(UnknownName, match=r"^model is 'nosuch', expected one of late_arrival$"):
        _choose(flights, ["nosuch"])


def test_several_feature_workers_are_told_how_far_they_go_at_a_time(
    flights: LoopDefinition, capsys: pytest.CaptureFixture[str]
) -> None:
    up._tell_keep(flights)
    errors = capsys.readouterr().err
    assert "wait for each other, 1m of event time at a time: the loop's smallest keep" in errors
    assert errors.count("\n") == 1


def test_who_gets_no_answer_may_send_again() -> None:
    with (
        pytest.raises(Unavailable, match=r"^TimeOut\. Sending the files again is safe: .* counts once$"),
        sending.safe_to_repeat("Sending"),
    ):
        raise Unavailable("TimeOut")
