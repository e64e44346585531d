"""The learner on a real broker and a real store: versions, checkpoints, takeovers, and their failures."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import pulsar
import pytest
import redis
from river import datasets, linear_model, preprocessing

from headrace import compiler, embedded
from headrace.definition import Column, FeatureDefinition, FieldType, ModelDefinition, Task
from headrace.runtime.pulsar.log_ends import entries_of
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.pulsar.messages import pass_over
from headrace.runtime.pulsar.skips import SkipReader
from headrace.runtime.redis.fences import Fences
from headrace.runtime.redis.quality import QualityBoard
from headrace.runtime.redis.status import StatusBoard
from headrace.v1 import models_pb2
from headrace.wire import compiled_loop
from headrace.wire.tables import Kind, LogEntries, Predictions, encode_log, encode_predictions
from headrace.wire.times import Inactive
from headrace.wire.topics import END_OF_HISTORY, Topics
from headrace_learner.checkpoint import Checkpoints
from headrace_learner.model_learner import Connections, ModelLearner
from headrace_learner.pulsar.model_log import PulsarModelLog
from headrace_learner.pulsar.prediction_reader import PredictionReader
from headrace_learner.pulsar.version_publisher import VersionPublisher
from headrace_learner.state_hash import state_hash
from headrace_learner.takeover import Takeover
from tests.brokers import Place
from tests.deadline import scaled, until
from tests.headers import header

_PAIRS = list(datasets.Bananas().take(2_000))
_LABELS = np.array([label for _, label in _PAIRS], np.float64)
_NUMBERS = np.array([list(row.values()) for row, _ in _PAIRS])
_FEATURES = tuple(FeatureDefinition(name, FieldType.FLOAT, Column(name)) for name in _PAIRS[0][0])


def pipeline() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def bare(count: int) -> str:
    """Return the state of a bare River loop after the first rows."""
    model = pipeline()
    for row, label in _PAIRS[:count]:
        model.predict_proba_one(row)
        model.learn_one(row, label)
    return state_hash(model)


def eventually(condition: Callable[[], Any]) -> Any:
    return until(condition, seconds=60.0)


@dataclass
class Room:
    """A separate loop on the servers that all tests share."""

    client: pulsar.Client
    store: redis.Redis
    data: Path
    model: ModelDefinition
    topics: Topics

    def send(self, first: int, last: int, *, size: int = 100, end: bool = False) -> None:
        """Write these examples to the log."""
        producer = self.client.create_producer(self.topics.examples(self.model.name))
        for start in range(first, last, size):
            stop = min(start + size, last)
            numbers = np.repeat(np.arange(start, stop), 2)  # each question, directly followed by its answer
            seqs = np.arange(2 * start, 2 * stop)
            part = LogEntries(
                seqs,
                np.array([Kind.QUESTION, Kind.ANSWER] * (stop - start), np.int8),
                seqs - seqs % 2,
                [f"e{number}" for number in numbers],
                numbers,
                numbers + 1,
                np.where(seqs % 2, np.asarray(_LABELS)[numbers], np.nan),
                np.ones(len(seqs)),
                _NUMBERS[numbers],
                [],
            )
            watermark = END_OF_HISTORY if end and stop == last else stop
            payload, model = encode_log(self.model, part), self.model
            properties = header(
                payload, epoch=1, release_watermark=watermark, definition=model.hash, examples=model.examples_hash
            )
            producer.send(payload, properties=properties)
        producer.close()

    def worker(self, instance: str = "one", data: Path | None = None, **changed: Any) -> ModelLearner:
        reports = QualityBoard(self.store, self.topics.loop)
        log = self.topics.examples(self.model.name)
        connections = Connections(
            log=PulsarModelLog(self.client, log, self.model, instance=instance, reports=reports),
            owners=changed.get("owners", Fences(self.store, self.topics.loop)),
            reports=reports,
            versions=changed.get("versions", VersionPublisher(self.client, self.topics.models)),
            predictions=PredictionReader(self.client, self.model, changed.get("predictions", ())),
            skips=partial(SkipReader, self.client, self.topics.skips, self.model.name),
            refuse=pass_over,
        )
        checkpoints = changed.get("checkpoints", Checkpoints(data or self.data, self.model))
        return ModelLearner(self.model, pipeline, connections, checkpoints)

    def versions(self) -> list[models_pb2.ModelVersion]:
        """Return all published versions."""
        reader = LogReader(self.client, self.topics.models)
        found = []
        try:
            while batch := reader.receive(timeout_ms=1_000):
                found += [models_pb2.ModelVersion.FromString(payload) for payload in batch.payloads]
        finally:
            reader.close()
        return found

    def saved(self, data: Path | None = None) -> tuple[int, str]:
        """Return the examples and the state of the newest checkpoint."""
        learning = Checkpoints(data or self.data, self.model).load()
        return (learning.progress.examples, state_hash(learning.estimator)) if learning else (0, "")


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded.store(tmp_path_factory.mktemp("store")) as server:
        yield server.url


@pytest.fixture
def room(place: Place, redis_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Room]:
    name = f"loop{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}"
    client = pulsar.Client(place.url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    store = redis.Redis.from_url(redis_url)
    model = ModelDefinition("bananas", "asked", "told", Task.BINARY, _FEATURES, "logistic", publish_examples=500)
    yield Room(client, store, tmp_path, model, place.topics(name))
    client.close()
    store.close()


@pytest.fixture
def running() -> Iterator[Callable[[ModelLearner], ModelLearner]]:
    started: list[ModelLearner] = []

    def start(worker: ModelLearner) -> ModelLearner:
        started.append(worker)
        worker.start()
        return worker

    yield start
    for worker in started:
        worker.stop()
    for worker in started:
        worker.join()


def stop(worker: ModelLearner) -> None:
    worker.stop()
    worker.join()
    assert worker.status.failure is None


def test_versions_come_at_their_numbers_and_score_as_the_model_does(
    room: Room, running: Callable[[ModelLearner], ModelLearner]
) -> None:
    room.send(0, 1_700, end=True)
    worker = running(room.worker())
    eventually(lambda: worker.status.published == 1_700)
    stop(worker)
    versions = room.versions()
    assert [version.examples for version in versions] == [500, 1_000, 1_500, 1_700]
    last = versions[-1]
    assert (last.model, last.definition, last.task) == ("bananas", room.model.hash, "binary")
    assert last.event_time == 1_699
    assert [feature.name for feature in last.features] == list(_PAIRS[0][0])
    assert hashlib.sha256(last.onnx).digest() == last.sha256
    assert room.saved() == (1_700, bare(1_700))
    scores = onnxruntime.InferenceSession(last.onnx).run(None, {"numbers": _NUMBERS[:50]})[0]
    learned = Checkpoints(room.data, room.model).load()
    assert learned is not None
    expected = [learned.estimator.predict_proba_one(row)[True] for row, _ in _PAIRS[:50]]
    assert scores.tolist() == pytest.approx(expected, abs=1e-12)
    report = QualityBoard(room.store, room.topics.loop).read("bananas")
    assert report is not None
    assert (report.examples, report.metrics) == (1_700, dict(last.metrics))
    assert [point.examples for point in report.points] == [1_000]


def test_a_stopped_learner_goes_on_from_its_checkpoint(
    room: Room, running: Callable[[ModelLearner], ModelLearner]
) -> None:
    room.send(0, 730)
    first = running(room.worker())
    eventually(lambda: first.status.learned == 730)
    stop(first)
    assert room.saved() == (730, bare(730))
    second = running(room.worker("two"))
    room.send(730, 1_000)
    eventually(lambda: second.status.published == 1_000)
    stop(second)
    assert second.status.learned == 270
    assert room.saved() == (1_000, bare(1_000))
    assert [version.examples for version in room.versions()] == [500, 1_000]


def test_a_learner_that_is_stopped_amid_a_message_learns_it_to_its_end_and_nothing_twice(
    room: Room, running: Callable[[ModelLearner], ModelLearner]
) -> None:
    room.send(0, 2_000, size=700, end=True)
    first = room.worker(versions=_StopAt(room.client, room.topics.models, 1_000, lambda: first.stop()))
    running(first).join()
    assert first.status.failure is None
    assert first.status.learned == 1_400
    assert room.saved() == (1_400, bare(1_400))
    second = running(room.worker())
    eventually(lambda: second.status.published == 2_000)
    stop(second)
    assert second.status.learned == 600
    assert room.saved() == (2_000, bare(2_000))
    assert [version.examples for version in room.versions()] == [500, 1_000, 1_500, 2_000]


def test_another_learner_takes_over_once_it_has_learned_what_the_former_had(
    room: Room, running: Callable[[ModelLearner], ModelLearner]
) -> None:
    room.send(0, 1_700, end=True)
    first = running(room.worker())
    eventually(lambda: first.status.published == 1_700)
    stop(first)
    former = room.model
    room.model = msgspec.structs.replace(former, learner="another", publish_examples=1_000)
    # It reads its log as a standby, and then as the owner.
    second = running(room.worker())
    eventually(lambda: second.status.learned == 1_700)
    assert [version.definition for version in room.versions()] == [former.hash] * 4
    room.send(1_700, 1_900)
    eventually(lambda: second.status.learned == 1_900)
    stop(second)
    _, *published = room.versions()[3:]
    assert published[0].examples == 1_700
    assert [(version.definition, version.taken_over, version.needed) for version in published] == [
        (room.model.hash, True, 1_700),
        ("", False, 0),  # this message empties the key of the former definition
    ]


def test_a_changed_model_takes_over_after_as_many_examples_as_declared(
    room: Room, running: Callable[[ModelLearner], ModelLearner]
) -> None:
    room.send(0, 500)
    stopped = running(room.worker())
    eventually(lambda: stopped.status.published == 500)
    stop(stopped)
    former = room.model
    room.model = msgspec.structs.replace(former, learner="another", takeover=1_200)
    second = running(room.worker())
    room.send(500, 1_000)
    eventually(lambda: second.status.published == 1_000)
    assert second.status.takeover == Takeover(former.hash, 1_200)
    stop(second)
    # A restart keeps all of this.
    third = running(room.worker())
    room.send(1_000, 1_300)
    eventually(lambda: third.status.learned == 300)
    eventually(lambda: third.status.takeover is None)
    stop(third)
    taken = [(v.examples, v.taken_over) for v in room.versions() if v.definition == room.model.hash]
    assert taken == [(500, False), (1_000, False), (1_200, True)]
    fourth = running(room.worker())
    room.send(1_300, 1_500)
    eventually(lambda: fourth.status.published == 1_500)
    assert (room.versions()[-1].examples, room.versions()[-1].taken_over) == (1_500, True)


def test_the_end_of_a_shorter_log_is_enough(room: Room, running: Callable[[ModelLearner], ModelLearner]) -> None:
    versions = VersionPublisher(room.client, room.topics.models)
    former = msgspec.structs.replace(room.model, learner="former")
    versions.publish(
        models_pb2.ModelVersion(
            model=former.name,
            definition=former.hash,
            examples=9_000,
            taken_over=True,
            model_definition=msgspec.json.encode(former),
        )
    )
    versions.flush()
    versions.close()
    room.send(0, 700)
    worker = running(room.worker())
    eventually(lambda: worker.status.published == 700)
    stop(worker)
    current = [version for version in room.versions() if version.definition == room.model.hash]
    assert [(version.examples, version.taken_over) for version in current] == [(500, False), (700, True)]


@pytest.mark.parametrize("loss", ["gone", "corrupt", "older"])
def test_a_lost_checkpoint_is_learned_again_from_the_log(
    room: Room, running: Callable[[ModelLearner], ModelLearner], loss: str
) -> None:
    room.send(0, 900)
    first = running(room.worker())
    eventually(lambda: first.status.learned == 900)
    stop(first)
    for path in room.data.iterdir():
        if loss == "gone" or (loss == "older" and path.suffix == ".ckpt"):
            path.unlink()
        elif loss == "corrupt":
            path.write_bytes(path.read_bytes()[:-1] + b"?")
    second = running(room.worker("two"))
    room.send(900, 1_200)  # everything before is acknowledged: the broker delivers only this
    eventually(lambda: second.status.examples == 1_200)
    stop(second)
    assert room.saved() == (1_200, bare(1_200))
    # Versions that are already published are not sent again.
    assert [version.examples for version in room.versions()] == [500, 1_000]


def test_from_an_older_checkpoint_no_version_is_sent_again(
    room: Room, running: Callable[[ModelLearner], ModelLearner]
) -> None:
    room.send(0, 450)
    first = running(room.worker())
    eventually(lambda: first.status.learned == 450)
    stop(first)
    elsewhere = Path(shutil.copytree(room.data, room.data / "elsewhere"))
    second = running(room.worker("two"))
    room.send(450, 1_200)
    eventually(lambda: second.status.learned == 750)
    stop(second)
    third = running(room.worker("three", data=elsewhere))
    room.send(1_200, 1_700)
    eventually(lambda: third.status.published == 1_500 and third.status.examples == 1_700)
    stop(third)
    # The first two are not sent again: an older version would follow a newer one for a while.
    assert [version.examples for version in room.versions()] == [500, 1_000, 1_500]
    assert room.saved(elsewhere) == (1_700, bare(1_700))


def test_a_version_that_a_former_owner_sent_late_does_not_stay_the_last(
    room: Room, running: Callable[[ModelLearner], ModelLearner]
) -> None:
    room.send(0, 1_200)
    first = running(room.worker())
    eventually(lambda: first.status.learned == 1_200)
    stop(first)
    older, newer = room.versions()
    former = VersionPublisher(room.client, room.topics.models)
    former.publish(older)
    former.flush()
    former.close()
    second = running(room.worker("two"))
    room.send(1_200, 1_300)
    eventually(lambda: second.status.learned == 100)
    stop(second)
    # Compaction keeps the last one; a learner sends what it has learned itself, not what it has read.
    *before, last = room.versions()
    assert before == [older, newer, older]
    assert 1_200 <= last.examples <= 1_300


def test_a_log_tells_how_many_entries_it_has_had(room: Room) -> None:
    topic = room.topics.examples(room.model.name)
    assert entries_of(room.client, topic) is None
    room.send(0, 100)
    assert entries_of(room.client, topic) == 200
    producer = room.client.create_producer(topic)
    for _ in range(20):  # says how far the log is, and holds no entry
        producer.send(b"", properties={"watermark": "1"})
    producer.close()
    assert entries_of(room.client, topic) == 200


@pytest.mark.parametrize("claimed", [2**62, 1_250])
def test_a_version_that_nobody_has_learned_mutes_no_learner(
    room: Room, running: Callable[[ModelLearner], ModelLearner], claimed: int
) -> None:
    room.send(0, 1_100)
    first = running(room.worker())
    eventually(lambda: first.status.learned == 1_100)
    stop(first)
    forged = room.versions()[-1]
    forged.examples = claimed
    writer = VersionPublisher(room.client, room.topics.models)
    writer.publish(forged)
    writer.flush()
    writer.close()
    second = running(room.worker("two"))
    room.send(1_100, 1_200)
    # Beyond the end of the log it does not count; within the log it counts until the log is read to its end.
    eventually(lambda: 1_100 <= room.versions()[-1].examples <= 1_200)
    assert room.versions()[-1].corrects == (claimed == 1_250)
    room.send(1_200, 1_700)
    eventually(lambda: second.status.published == 1_500)
    stop(second)
    examples = [version.examples for version in room.versions()]
    assert (examples[:3], examples[-1]) == ([500, 1_000, claimed], 1_500)
    assert examples.count(claimed) == 1


def test_a_learner_without_a_checkpoint_rebuilds_though_nothing_comes(
    room: Room, running: Callable[[ModelLearner], ModelLearner]
) -> None:
    room.send(0, 600)
    first = running(room.worker())
    eventually(lambda: first.status.learned == 600)
    stop(first)
    second = running(room.worker("two", data=room.data / "elsewhere"))
    eventually(lambda: second.status.examples == 600)
    assert second.status.state == "standby"
    stop(second)
    assert second.status.metrics == first.status.metrics


def test_a_standby_takes_over_and_the_model_is_the_same(
    room: Room, running: Callable[[ModelLearner], ModelLearner]
) -> None:
    room.send(0, 650)
    active = running(room.worker("active"))
    eventually(lambda: active.status.learned == 650)
    both = active, running(room.worker("standby"))
    # The broker may give the newcomer what has not been acknowledged yet, and with it the log.
    eventually(lambda: sorted(worker.status.state for worker in both) == ["learning", "standby"])
    owner, standby = sorted(both, key=lambda worker: worker.status.state)
    stop(owner)
    room.send(650, 1_000)
    eventually(lambda: standby.status.published == 1_000)
    assert standby.status.state == "learning"
    stop(standby)
    assert room.saved() == (1_000, bare(1_000))


def test_a_fenced_learner_saves_and_publishes_nothing(
    room: Room, running: Callable[[ModelLearner], ModelLearner]
) -> None:
    room.send(0, 450)
    held = _Held(Fences(room.store, room.topics.loop))
    worker = running(room.worker(owners=held))
    eventually(lambda: worker.status.learned == 450 and room.saved()[0] == 450)
    held.close()
    Fences(room.store, room.topics.loop).acquire("learner-bananas")  # another one takes over
    before = room.saved()
    room.send(450, 600)
    assert held.asked.wait(scaled(60))  # it was refused, gave up ownership, and tries to become the owner again
    assert room.saved() == before
    assert room.versions() == []
    held.open.set()
    eventually(lambda: worker.status.published == 500 and worker.status.examples == 600)
    stop(worker)
    assert room.saved() == (600, bare(600))


def test_a_full_disk_is_told_and_nothing_is_acknowledged(
    room: Room, running: Callable[[ModelLearner], ModelLearner]
) -> None:
    disk = _FullDisk(room.data, room.model)
    room.send(0, 600)
    worker = running(room.worker(checkpoints=disk))
    eventually(lambda: "No space left" in worker.status.note)
    eventually(lambda: worker.status.learned == 600)
    stop(worker)
    assert room.saved() == (0, "")
    again = running(room.worker("again"))
    eventually(lambda: again.status.learned == 600)
    stop(again)
    assert room.saved() == (600, bare(600))


def test_a_version_comes_each_declared_seconds_though_examples_are_few(
    room: Room, running: Callable[[ModelLearner], ModelLearner]
) -> None:
    room.model = msgspec.structs.replace(room.model, publish_after=50_000)
    room.send(0, 70)
    worker = running(room.worker())
    eventually(lambda: worker.status.published == 70)
    room.send(70, 130)
    eventually(lambda: worker.status.published == 130)
    stop(worker)
    assert room.versions()[-1].examples == 130


def test_served_quality_is_that_of_the_predictions_on_their_topic(
    room: Room, running: Callable[[ModelLearner], ModelLearner]
) -> None:
    """Send half of the predictions late, and let another learner continue with the second half of the log."""
    topic = room.topics.predictions(room.model.name)
    scores = np.random.default_rng(1).random(600)

    def serve(first: int, last: int) -> None:
        rows = np.arange(first, last)
        size = len(rows)
        part = Predictions(
            [f"e{row}" for row in rows], rows, [bytes(20)] * size, rows, scores[rows], None, _NUMBERS[rows], []
        )
        producer = room.client.create_producer(topic)
        payload = encode_predictions(room.model, part)
        producer.send(payload, properties=header(payload, definition=room.model.hash))
        producer.close()

    def served(worker: ModelLearner) -> float:
        return worker.status.metrics.get("served", 0.0)

    serve(0, 200)
    room.send(0, 400)
    first = running(room.worker(predictions=(topic,)))
    eventually(lambda: served(first) == 200)
    serve(200, 400)
    eventually(lambda: served(first) == 400)
    stop(first)
    room.send(400, 700)
    serve(400, 600)
    second = running(room.worker("two", predictions=(topic,)))
    eventually(lambda: served(second) == 600 and second.status.examples == 700)
    assert second.status.metrics["unserved"] == 100
    truth = _LABELS[:600] > 0.5
    losses = -np.log(np.where(truth, scores, 1 - scores))
    assert second.status.metrics["served_log_loss"] == pytest.approx(losses.mean(), rel=1e-9)
    report = QualityBoard(room.store, room.topics.loop).read(room.model.name)
    assert report is not None
    assert report.metrics == second.status.metrics


def test_a_hole_in_the_log_is_refused(room: Room, running: Callable[[ModelLearner], ModelLearner]) -> None:
    room.send(0, 100)
    room.send(101, 200)
    worker = running(room.worker())
    eventually(lambda: worker.status.failure)
    assert "expected place 200 next" in str(worker.status.failure)
    assert worker.status.state == "failed"


_LOOP = """
from datetime import datetime
from headrace.declare import Label, Model, Stream, col
from river import linear_model, preprocessing

class Asked(Stream, key="id", time="at", id="id"):
    id: str
    at: datetime
    one: float
    two: float

class Told(Stream, key="id", time="at", id="id"):
    id: str
    at: datetime
    yes: bool

answer = Label(Told, of=Asked, value=col("yes"), within="1h")
bananas = Model("bananas", on=Asked, label=answer, features=[Asked.one, Asked.two], publish_every=500,
                learner=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression())
"""


def test_the_process_survives_kill_and_drains_on_sigterm(
    room: Room, place: Place, redis_url: str, tmp_path: Path
) -> None:
    source = tmp_path / "loop.py"
    source.write_text(_LOOP)
    loop = compiler.load(source).definition
    (tmp_path / "loop.json").write_bytes(compiled_loop.encode(loop))
    room.model, room.topics = loop.models[0], place.topics(loop.name)
    environment = (
        os.environ
        | place.environment
        | {
            "HEADRACE_LOOP": str(tmp_path / "loop.json"),
            "HEADRACE_LOOP_FILE": str(source),
            "HEADRACE_REDIS_URL": redis_url,
            "HEADRACE_DATA": str(tmp_path),
            "HEADRACE_INSTANCE": "learner-0",
        }
    )
    board = StatusBoard(room.store, loop.name)
    log_path = tmp_path / "learner.log"

    def start() -> subprocess.Popen[bytes]:
        with log_path.open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", "headrace_learner"], env=environment, stderr=log)

    room.send(0, 1_200)
    process = start()

    def versions() -> dict[str, int]:
        nonlocal process
        if process.poll() is not None:
            # The embedded broker hangs after some kills of a consumer. Restart it, as an operator would.
            assert isinstance(place.server, embedded.Broker), log_path.read_text()
            assert "TimeOut" in log_path.read_text(), log_path.read_text()
            place.server.kill()
            place.server.start()
            process = start()
        return next((status.versions for status in board.read() if status.state == "ready"), {})

    try:
        eventually(lambda: versions().get("bananas") == 1_000)
        process.send_signal(signal.SIGKILL)
        process.wait()
        room.store.delete("headrace:loop:status:learner:learner-0")
        process = start()
        room.send(1_200, 1_990, end=True)
        eventually(lambda: versions().get("bananas") == 1_990)
        (status,) = board.read()
        assert status.metrics["bananas"]["examples"] == 1_990
        assert status.watermark is Inactive.ENDED
        process.send_signal(signal.SIGTERM)
        assert process.wait(scaled(60)) == 0
        assert board.read() == []
    finally:
        process.kill()
        process.wait()
    assert room.saved(tmp_path / "checkpoints") == (1_990, bare_named(1_990))
    numbers = [version.examples for version in room.versions()]
    assert sorted(set(numbers)) == [500, 1_000, 1_500, 1_990]


def bare_named(count: int) -> str:
    """Do as `bare`, with the names of the loop file."""
    model = pipeline()
    for row, label in _PAIRS[:count]:
        named = dict(zip(("one", "two"), row.values(), strict=True))
        model.predict_proba_one(named)
        model.learn_one(named, label)
    return state_hash(model)


class _Held:
    """Fences that grant no ownership after they are closed, until they are opened."""

    def __init__(self, inner: Fences) -> None:
        self.asked, self.open = threading.Event(), threading.Event()
        self.open.set()
        self._inner = inner

    def close(self) -> None:
        self.asked.clear()
        self.open.clear()

    def acquire(self, work: str) -> int:
        self.asked.set()
        self.open.wait(scaled(60))
        return self._inner.acquire(work)

    def check(self, work: str, epoch: int) -> None:
        self._inner.check(work, epoch)


class _StopAt(VersionPublisher):
    """A publisher that stops the learner at one of its versions."""

    def __init__(self, client: pulsar.Client, topic: str, examples: int, stop: Callable[[], None]) -> None:
        super().__init__(client, topic)
        self._examples, self._stop = examples, stop

    def publish(self, version: models_pb2.ModelVersion) -> None:
        super().publish(version)
        if version.examples == self._examples:
            self._stop()


class _FullDisk(Checkpoints):
    def save(self, data: bytes) -> None:
        raise OSError(28, "No space left on device")
