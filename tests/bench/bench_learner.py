"""Measure the learner through a real broker, beside a bare River loop over the same rows in the same run.

The bare loop is the minimum that every learner does: predict each row, then learn it; the rows are dictionaries in
memory, and nothing is measured, decoded, checkpointed or published. The learner's time runs from its first
message to the version after its last one; it includes all of that, and a version as ONNX every 5,000 examples.
The linear models are learned by compiled code.

    python tests/bench/bench_learner.py [examples]
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pulsar
import redis
from river import linear_model, optim, preprocessing, tree

from headrace import embedded
from headrace.definition import Column, FeatureDefinition, FieldType, ModelDefinition, Task
from headrace.runtime.pulsar.messages import pass_over
from headrace.runtime.pulsar.skips import SkipReader
from headrace.runtime.redis.fences import Fences
from headrace.runtime.redis.quality import QualityBoard
from headrace.wire.tables import Kind, LogEntries, encode_log
from headrace.wire.topics import END_OF_HISTORY
from headrace_learner.checkpoint import Checkpoints
from headrace_learner.model_learner import Connections, ModelLearner
from headrace_learner.pulsar.model_log import PulsarModelLog
from headrace_learner.pulsar.prediction_reader import PredictionReader
from headrace_learner.pulsar.version_publisher import VersionPublisher
from tests.headers import header

FEATURES = 20
#: Number of questions asked between a question and its answer.
DELAY = 0
LEARNERS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "adagrad": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.AdaGrad(0.01)),
    "hoeffding": tree.HoeffdingTreeClassifier,
}


def definition(name: str) -> ModelDefinition:
    features = tuple(
        FeatureDefinition(f"feature_{index}", FieldType.FLOAT, Column(f"feature_{index}")) for index in range(FEATURES)
    )
    return ModelDefinition(name, "asked", "answered", Task.BINARY, features, name)


@dataclass(frozen=True)
class Examples:
    """Rows with their labels, one second apart."""

    numbers: np.ndarray[Any, np.dtype[np.float64]]
    labels: np.ndarray[Any, np.dtype[np.float64]]

    def __len__(self) -> int:
        return len(self.labels)

    def log(self, delay: int) -> LogEntries:
        """Build a log that has `delay` other questions between a question and its answer."""
        count = len(self)
        places = np.concatenate((np.arange(count) * 2, np.arange(count) * 2 + 2 * delay + 1))
        order = np.argsort(places, kind="stable")
        rows = np.tile(np.arange(count), 2)[order]
        answers = (order >= count).astype(bool)
        seqs = np.arange(2 * count)
        questions = np.empty(count, np.int64)
        questions[rows[~answers]] = seqs[~answers]
        times = 1_700_000_000_000_000 + rows * 1_000_000
        return LogEntries(
            seqs,
            np.where(answers, Kind.ANSWER, Kind.QUESTION).astype(np.int8),
            questions[rows],
            [f"event-{row}" for row in rows.tolist()],
            times,
            times + delay * 1_000_000,
            np.where(answers, self.labels[rows], np.nan),
            np.ones(2 * count),
            self.numbers[rows],
            [],
        )


def examples(count: int) -> Examples:
    """Generate a task that a model can learn: some rows lack a feature."""
    random = np.random.default_rng(7)
    numbers = random.normal(size=(count, FEATURES))
    chance = 1 / (1 + np.exp(-numbers @ random.normal(size=FEATURES)))
    labels = (random.random(count) < chance).astype(np.float64)
    numbers[random.random(count) < 0.02, 3] = np.nan
    return Examples(numbers, labels)


def bare(make: Callable[[], Any], model: ModelDefinition, rows: Examples) -> float:
    """Return the rows per second of predict, then learn."""
    names = [feature.name for feature in model.features]
    inputs = [
        {name: value for name, value in zip(names, row, strict=True) if value == value} for row in rows.numbers.tolist()
    ]
    labels = [float(label) > 0.5 for label in rows.labels]
    estimator = make()
    started = time.perf_counter()
    for row, label in zip(inputs, labels, strict=True):
        estimator.predict_proba_one(row)
        estimator.learn_one(row, label)
    return len(rows) / (time.perf_counter() - started)


def send(client: pulsar.Client, topic: str, model: ModelDefinition, log: LogEntries, size: int = 2_000) -> None:
    """Write the log as the join does."""
    producer = client.create_producer(topic, max_pending_messages=100, block_if_queue_full=True)
    for start in range(0, len(log), size):
        end = min(start + size, len(log))
        watermark = END_OF_HISTORY if end == len(log) else int(log.times[end])
        payload = encode_log(model, log.take(range(start, end)))
        producer.send_async(
            payload, None, properties=header(payload, epoch=1, release_watermark=watermark, definition=model.hash)
        )
    producer.flush()
    producer.close()


def through(
    make: Callable[[], Any], model: ModelDefinition, rows: Examples, servers: embedded.Servers, data: Path
) -> tuple[float, ModelLearner]:
    """Return the rows per second of the learner, over a log that is already written."""
    client = pulsar.Client(servers.pulsar_url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    store = redis.Redis.from_url(servers.redis_url)
    topic = f"persistent://public/default/bench-{model.name}-examples"
    send(client, topic, model, rows.log(DELAY))
    reports = QualityBoard(store, "bench")
    connections = Connections(
        log=PulsarModelLog(client, topic, model, instance="bench", reports=reports),
        owners=Fences(store, "bench"),
        reports=reports,
        versions=VersionPublisher(client, "persistent://public/default/bench-models"),
        predictions=PredictionReader(client, model, ()),
        skips=partial(SkipReader, client, "persistent://public/default/bench-skips", model.name),
        refuse=pass_over,
    )
    worker = ModelLearner(model, make, connections, Checkpoints(data / "checkpoints", model))
    worker.start()
    while not worker.status.examples:
        time.sleep(0.001)
    first, started = worker.status.examples, time.perf_counter()
    while worker.status.published < len(rows):
        time.sleep(0.005)
        if worker.status.failure:
            raise RuntimeError(worker.status.failure)
    speed = (len(rows) - first) / (time.perf_counter() - started)
    worker.stop()
    worker.join()
    client.close()
    store.close()
    return speed, worker


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    results: dict[str, Any] = {"examples": count, "features": FEATURES}
    rows = examples(count)
    with tempfile.TemporaryDirectory() as directory, embedded.Servers(directory) as servers:
        for name, make in LEARNERS.items():
            model = definition(name)
            # Measure the bare loop before and after the learner, so that a change in the machine's speed shows.
            before = bare(make, model, rows)
            speed, worker = through(make, model, rows, servers, Path(directory))
            reference = (before + bare(make, model, rows)) / 2
            results[name] = {
                "bare_river_per_s": round(reference),
                "learner_per_s": round(speed),
                "share": round(speed / reference, 3),
                "versions": worker.status.versions,
                "roc_auc": round(worker.status.metrics["roc_auc"], 4),
            }
    print(json.dumps({"learner": results}))


if __name__ == "__main__":
    main()
