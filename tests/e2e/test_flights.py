"""The flights demo: its vectors against a computation that shares no code with headrace, a score, and its replay."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import numpy as np
import pandas as pd
import pulsar
import pytest

from headrace import compiler, embedded
from headrace.cli.program import run
from headrace.client import play
from headrace.demo.dataset import prepare
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.pulsar.producer import Producer
from headrace.v1 import scoring_pb2, scoring_pb2_grpc
from headrace.wire.position import START
from headrace.wire.tables import Predictions, decode_vectors, encode_predictions
from headrace.wire.times import Inactive
from headrace.wire.topics import Topics
from headrace_learner.checkpoint import Checkpoints
from tests.contract.pages import blocks, commands
from tests.contract.repository import ROOT
from tests.deadline import until
from tests.e2e.flights_by_oracle import flight_vectors
from tests.headers import header
from tests.oracle.delayed import Questions, evaluate
from tests.simulations import recorded as topics
from tests.simulations.beside_river import Comparison, LoopResults, compare
from tests.simulations.recorded import Recorded

LOOP = Path(__file__).parents[2] / "sdk/src/headrace/demo/loop.py"
EVENTS = 20_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return prepare(tmp_path_factory.mktemp("flights"), EVENTS)


@pytest.fixture(scope="module")
def played(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.RunningLoop]:
    """Yield the loop after all events have been played and processed."""
    with embedded.run(LOOP, data=tmp_path_factory.mktemp("loop")) as running:
        sources = [(path, stream) for stream, path in files.items()]
        # Never play far ahead, so that several versions score.
        result = play(running.definition, sources, running.addresses["ingest"], running.redis_url, ahead=2_000)
        assert (result.accepted, result.rejected) == (EVENTS, 0)
        until(
            lambda: {status.service: status.watermark for status in running.status()},
            lambda watermarks: watermarks.get("learner") is Inactive.ENDED,
            seconds=120,
        )
        yield running


def served_vectors(running: embedded.RunningLoop) -> dict[str, dict[str, float]]:
    """Return every vector of the features topic."""
    (model,) = running.definition.models
    names = [feature.name for feature in model.features]
    client = pulsar.Client(running.pulsar_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
    reader = LogReader(client, Topics(running.definition.name).features(model.name))
    found: dict[str, dict[str, float]] = {}
    ended = False
    while not ended:
        batch = reader.receive()
        for payload in filter(None, batch.payloads):
            vectors = decode_vectors(model, payload)
            for id, numbers in zip(vectors.ids, vectors.numbers.tolist(), strict=True):
                assert id not in found
                found[id] = dict(zip(names, numbers, strict=True))
        ended = any(properties.get("release_watermark") == "ended" for properties in batch.properties)
    client.close()
    return found


def events_of(path: Path) -> list[dict[str, Any]]:
    table = pd.read_parquet(path)
    for name in table.select_dtypes(include=["datetime", "datetimetz"]):
        table[name] = table[name].dt.as_unit("us").astype("int64")
    return table.astype(object).where(table.notna(), None).to_dict("records")


def test_the_vectors_are_those_of_the_definition(played: embedded.RunningLoop, files: dict[str, Path]) -> None:
    expected = flight_vectors({stream: events_of(path) for stream, path in files.items()})
    found = served_vectors(played)
    assert found.keys() == expected.keys()
    different = [
        (id, name, value, found[id][name])
        for id, values in expected.items()
        for name, value in values.items()
        if not _close(value, found[id][name])
    ]
    assert different == []


def test_the_model_answers_over_grpc(played: embedded.RunningLoop, files: dict[str, Path]) -> None:
    flight = events_of(files["scheduled"])[-1]
    with grpc.insecure_channel(played.addresses["scorer"]) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)
        answer = stub.Score(
            scoring_pb2.ScoreRequest(model="late_arrival", event=json.dumps(flight).encode(), explain=True)
        )
    assert 0.0 < answer.score < 1.0
    assert answer.version.examples > 5_000
    served = served_vectors(played)[flight["flight"]]
    for value in answer.vector:
        # The requested vector equals the served one, because no event came in between.
        assert _close(served[value.name], value.number if value.HasField("number") else math.nan)


@pytest.fixture(scope="module")
def recorded(played: embedded.RunningLoop) -> Recorded:
    """Return what the loop recorded."""
    return topics.read(played, played.definition.models[0])


@pytest.fixture(scope="module")
def loop_results(played: embedded.RunningLoop, recorded: Recorded) -> LoopResults:
    """Return what the learner reports for the recorded log, and the final model of the running learner."""
    # Use the metrics of all examples: these events end before those that the demo scores.
    model = msgspec.structs.replace(played.definition.models[0], score_from=None)
    scores, metrics = topics.asked_by_the_learner(model, compiler.load(LOOP).learner(model.name), recorded)
    checkpoint = next(played.data.rglob(f"{model.name}.ckpt"))
    learning = until(
        Checkpoints(checkpoint.parent, model).load,
        lambda found: found is not None and found.progress.examples == metrics["examples"],
    )
    assert learning is not None
    return LoopResults(scores, metrics, learning.estimator)


def flight_questions(played: embedded.RunningLoop, files: dict[str, Path], recorded: Recorded) -> Questions:
    """Return the questions with event times, as the events have them."""
    return topics.flights(files, recorded, played.definition.label(played.definition.models[0].label).within)


def beside_river(recorded: Recorded, by_time: Questions, loop_results: LoopResults) -> Comparison:
    """Compare the loop with River's evaluation: `python -m tests.simulations.year` does so over the whole year."""
    loaded = compiler.load(LOOP)
    model = loaded.definition.models[0].name
    places = evaluate(recorded.questions, loaded.learner(model))
    times = evaluate(by_time, loaded.learner(model), {*recorded.served.versions.tolist()})
    return compare(recorded, places, times, loop_results, None)


def test_predictions_are_rivers_under_late_labels(
    played: embedded.RunningLoop, files: dict[str, Path], recorded: Recorded, loop_results: LoopResults
) -> None:
    found = beside_river(recorded, flight_questions(played, files, recorded), loop_results)
    assert [check for check in found.checks if check.different] == []
    compared = {check.what: check.compared for check in found.checks}
    assert compared["predictions: River by event times, learner"] == len(served_vectors(played))
    assert compared["served: River's version, scorer"] > 1_000
    assert compared["log_loss: River by event times, loop"] == 1
    assert found.by_time["scored"] > 5_000


def test_the_comparison_with_river_sees_one_bit(
    played: embedded.RunningLoop, files: dict[str, Path], recorded: Recorded, loop_results: LoopResults
) -> None:
    questions = flight_questions(played, files, recorded)
    # By time, and in reverse order within equal times.
    order = np.lexsort((-np.arange(len(questions)), questions.times))
    scores, estimator, loss = (
        loop_results.scores.copy(),
        copy.deepcopy(loop_results.estimator),
        loop_results.metrics["log_loss"],
    )
    scores[1_000] = math.nextafter(scores[1_000], 1.0)
    estimator["LogisticRegression"].intercept = math.nextafter(estimator["LogisticRegression"].intercept, 1.0)
    assert loss is not None
    changed = LoopResults(scores, {**loop_results.metrics, "log_loss": math.nextafter(loss, 1.0)}, estimator)
    found = beside_river(recorded, questions.take(order.tolist()), changed)
    different = {check.what: check.different for check in found.checks}
    assert different["entries: River's order of event times, log"] > 1_000
    assert different["predictions: River by event times, learner"] > 1_000
    assert different["predictions: River by places, learner"] == 1
    assert different["models in the end: River, checkpoint"] == 2
    assert different["log_loss: River by places, loop"] == 1
    assert different["accuracy: River by places, loop"] == 0


def replay(
    played: embedded.RunningLoop, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """Return the exit code of a replay, the differences that it prints, and its summary of the model."""
    capsys.readouterr()
    code = run(["replay", "--diff", "--json", "--data", str(played.data), *options])
    *differences, summary = map(json.loads, capsys.readouterr().out.splitlines())
    return code, differences, summary["models"]["late_arrival"]


@pytest.mark.parametrize("relearn", [(), ("--relearn",)])
def test_a_replay_finds_no_difference(
    played: embedded.RunningLoop, capsys: pytest.CaptureFixture[str], relearn: tuple[str, ...]
) -> None:
    code, differences, summary = replay(played, capsys, "--to", "2014-01-01", *relearn)
    assert (code, differences, summary["values_differ"], summary["scores_differ"]) == (0, [], 0, 0)
    assert summary["vectors"] == len(served_vectors(played))
    assert 1_000 < summary["predictions"] < summary["vectors"]
    assert summary["versions"] > 1
    assert summary["relearned"] == (summary["versions"] if relearn else 0)
    assert summary["versions_missing"] == []


def test_a_replay_tells_what_one_altered_event_changes(
    played: embedded.RunningLoop, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    streams = {stream: events_of(path) for stream, path in files.items()}
    before = flight_vectors(streams)
    # Make a flight that left on time an hour late.
    place = next(
        i for i, departure in enumerate(streams["departed"]) if i > 3_000 and abs(departure["departure_delay"]) < 1
    )
    altered = streams["departed"][place] | {"departure_delay": 60.0}
    streams["departed"][place] = altered
    after = flight_vectors(streams)
    expected = {
        (id, name): (value, after[id][name])
        for id, values in before.items()
        for name, value in values.items()
        if not _close(value, after[id][name])
    }
    assert len(expected) > 50
    file = tmp_path / "altered.jsonl"
    file.write_text(json.dumps(altered))
    code, differences, summary = replay(played, capsys, "--to", "2014-01-01", "--events", f"departed={file}")
    values = {
        (difference["id"], difference["what"]): difference
        for difference in differences
        if difference["what"] != "score"
    }
    assert code == 1
    assert values.keys() == expected.keys()
    for key, difference in values.items():
        assert _close(difference["logged"], expected[key][0])
        assert _close(difference["recomputed"], expected[key][1])
        assert difference["why"] == f"altered event: departed {altered['flight']}"
    scores = [difference for difference in differences if difference["what"] == "score"]
    assert {difference["id"] for difference in scores} <= {id for id, _ in expected}
    assert {difference["why"] for difference in scores} == {"its vector differs"}
    assert (summary["values_differ"], summary["scores_differ"]) == (len(values), len(scores))
    assert scores


def test_replays_go_as_their_page_shows(
    played: embedded.RunningLoop, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / "docs" / "replay.md"
    shown = {block.language: block.text for block in blocks(page)}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADRACE_DATA", str(played.data))
    Path("altered.csv").write_text(shown["csv"])
    calls = [words for words in commands(page, "headrace") if words[0] == "replay" and len(words) > 1]
    plain, diff, complete, what_if, elsewhere = calls
    assert run(plain) == 0
    assert capsys.readouterr().out.startswith("late_arrival  US2187-LGA-2013-01-06  2013-01-06T22:00:00")
    assert run(complete) == 0
    assert run(diff) == 0
    assert capsys.readouterr().out.endswith(": no difference\n")
    assert run(what_if) == 1
    assert shown["text"] in capsys.readouterr().out
    definition = played.data / "loop.json"
    here = {"pulsar://broker:6650": played.pulsar_url, "loop.json": str(definition), "loop.py": str(LOOP)}
    assert run([here.get(word, word) for word in elsewhere]) == 0


def test_a_replay_tells_that_another_version_scored(
    played: embedded.RunningLoop, capsys: pytest.CaptureFixture[str]
) -> None:
    (model,) = played.definition.models
    id, vector = list(served_vectors(played).items())[-1]
    numbers = np.array([[vector[feature.name] for feature in model.features]])
    moment = np.array([1_400_000_000_000_000])
    forged = Predictions(
        [id], moment, [START.to_bytes()], np.array([model.publish_examples]), np.array([0.5]), None, numbers, []
    )
    client = pulsar.Client(played.pulsar_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
    producer = Producer(client, Topics(played.definition.name).predictions(model.name))
    payload = encode_predictions(model, forged)
    producer.send(payload, properties=header(payload, definition=model.hash))
    producer.flush()
    client.close()
    code, differences, summary = replay(played, capsys, "--from", "2014-01-01")
    assert (code, summary["vectors"], summary["requests"]) == (1, 0, 1)
    (found,) = differences
    assert (found["id"], found["what"], found["logged"]) == (id, "score", 0.5)
    assert found["why"].startswith(f"other version: {model.publish_examples:,}, as it is on the models topic")


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(one) and math.isnan(other))
