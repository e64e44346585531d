"""Measure how fast one score is, beside a bare server that reads the same rows and runs the same model.

    python tests/bench/bench_scorer.py --requests 10000

Starts an embedded broker and store, fills rows, starts the scorer and a bare grpc.aio server (each in its own
process, same client) and asks them in turns, so that other load on the machine affects both. Prints
one JSON object; times are milliseconds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import redis
from river import compose, linear_model, preprocessing

from headrace.definition import (
    Aggregate,
    AggregateDefinition,
    Column,
    FeatureDefinition,
    Field,
    FieldType,
    LabelDefinition,
    LoopDefinition,
    ModelDefinition,
    StreamDefinition,
    Task,
    ViewDefinition,
    Window,
)
from headrace.embedded import broker, store
from headrace.engine.events import StreamCodec
from headrace.engine.export import to_onnx
from headrace.engine.kernel.layout import Layout
from headrace.engine.kernel.preparation import Folding
from headrace.engine.kernel.rows import Operations, RowSet
from headrace.runtime.redis.rows import row_field, row_key
from headrace.v1 import models_pb2, scoring_pb2, scoring_pb2_grpc
from headrace.wire import compiled_loop
from headrace.wire.envelope import Envelope
from headrace.wire.topics import Topics

MINUTE, HOUR = 60_000_000, 3_600_000_000
KEYS = 1_000
FIELDS = ("user", "card", "shop", "city", "device")
WINDOWS = (Window("1h", HOUR, 5 * MINUTE), Window("24h", 24 * HOUR, 2 * HOUR))


def bench_loop() -> LoopDefinition:
    """Build views of four features each: all about one entity (`one`, `twenty`), or each about its own (`five`)."""
    stream = StreamDefinition(
        "paid",
        (
            Field("id", FieldType.STRING),
            Field("at", FieldType.TIME),
            *(Field(name, FieldType.STRING) for name in FIELDS),
            Field("amount", FieldType.FLOAT),
        ),
        "user",
        "at",
        "id",
        lateness=MINUTE,
        horizon=HOUR,
    )
    views = [_view(f"five_{name}", name) for name in FIELDS] + [_view(f"twenty_{place}", "user") for place in range(20)]
    label = LabelDefinition("fraud", "paid", "paid", "id", Column("amount"), FieldType.BOOL, HOUR)
    models = (
        _model("one", views[5:6]),
        _model("five", views[:5]),
        _model("twenty", views[5:]),
    )
    return LoopDefinition("bench", (stream,), tuple(views), (label,), models)


def _view(name: str, by: str) -> ViewDefinition:
    aggregates = (AggregateDefinition("mean", "mean", "amount"), AggregateDefinition("count", "count", None))
    return ViewDefinition(name, "paid", (by,), None, (), aggregates, WINDOWS, 1_000_000, 5 * MINUTE)


def _model(name: str, views: Sequence[ViewDefinition]) -> ModelDefinition:
    features = [
        FeatureDefinition(
            f"{view.name}_{aggregate.name}_{window.name}",
            FieldType.FLOAT,
            Aggregate(view.name, aggregate.name, window.name, view.by),
        )
        for view in views
        for aggregate in view.aggregates
        for window in view.windows
    ]
    features.append(FeatureDefinition("amount", FieldType.FLOAT, Column("amount")))
    return ModelDefinition(name, "paid", "fraud", Task.BINARY, tuple(features), "bench")


def events(loop: LoopDefinition, count: int, now: int) -> list[dict[str, Any]]:
    """Generate a day of events."""
    random.seed(1)
    return [
        {
            "id": str(number),
            "at": now - 24 * HOUR + number * (24 * HOUR // count),
            **{name: f"{name}{random.randrange(KEYS)}" for name in FIELDS},
            "amount": random.expovariate(0.1),
        }
        for number in range(count)
    ]


def fill(loop: LoopDefinition, url: str, history: list[dict[str, Any]]) -> None:
    """Fold a history into rows and write them."""
    columns, _, _ = StreamCodec(loop.streams[0]).columns([json.dumps(event).encode() for event in history])
    pipe = redis.Redis.from_url(url).pipeline(transaction=False)
    for view in loop.views:
        layout = Layout(view)
        rows, folds = RowSet(layout), Folding(view, layout).prepare(columns)
        slots = np.array([rows.add(key or "") for key in folds.keys], np.int64)
        positions = np.array([(0, place, -1) for place in range(len(slots))], np.int64)
        rows.run(Operations(np.zeros(len(slots), np.int8), slots, columns.times, folds.values, positions))
        every = sorted(set(slots.tolist()))
        for slot, state in zip(every, rows.dump(every, 1), strict=True):
            pipe.hset(row_key(loop.name, view.entity, rows.key(slot)), row_field(view, 0), state)
        pipe.execute()


def version(model: ModelDefinition) -> models_pb2.ModelVersion:
    """Train a logistic regression and export it as a version."""
    random.seed(2)
    learner = compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())
    for _ in range(200):
        learner.learn_one({feature.name: random.gauss(0, 1) for feature in model.features}, random.random() < 0.3)
    exported = to_onnx(learner, model.features, model.task)
    return models_pb2.ModelVersion(
        model=model.name,
        definition=model.hash,
        examples=200,
        features=[models_pb2.Feature(name=feature.name, type=feature.type.value) for feature in model.features],
        classes=exported.classes,
        task=model.task.value,
        onnx=exported.onnx,
        sha256=hashlib.sha256(exported.onnx).digest(),
    )


def publish(url: str, loop: LoopDefinition, versions: list[models_pb2.ModelVersion]) -> None:
    """Publish versions on the models topic."""
    import pulsar

    client = pulsar.Client(url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
    producer = client.create_producer(Topics(loop.name).models)
    for version in versions:
        payload = version.SerializeToString()
        producer.send(payload, properties=Envelope(definition=version.definition).properties(payload))
    client.close()


async def _bare(store_url: str, loop_file: str, model_file: str) -> None:
    """Serve the baseline: five HMGETs by redis-py's asyncio pipeline, then the same ONNX."""
    import onnxruntime
    import redis.asyncio

    loop = compiled_loop.decode(Path(loop_file).read_bytes())
    views = loop.views_of(loop.model("five"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model_file, options)
    client = redis.asyncio.Redis.from_url(store_url)
    numbers = np.zeros((1, len(loop.model("five").features)))

    class Bare(scoring_pb2_grpc.ScoringServiceServicer):
        async def Score(self, request: Any, context: Any) -> Any:  # noqa: N802
            event = json.loads(request.event)
            pipe = client.pipeline(transaction=False)
            for view in views:
                pipe.hmget(row_key(loop.name, view.entity, event[view.by[0]]), row_field(view, 0))
            await pipe.execute()
            (score,) = session.run(["score"], {"numbers": numbers})
            return scoring_pb2.ScoreResponse(score=score[0])

    server = grpc.aio.server()
    scoring_pb2_grpc.add_ScoringServiceServicer_to_server(Bare(), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


@contextmanager
def process(arguments: list[str], environment: dict[str, str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a child process for the block."""
    child = subprocess.Popen(arguments, env={**os.environ, **environment}, text=True, **options)
    try:
        yield child
    finally:
        child.terminate()
        child.wait(20)


def ready(url: str, loop: LoopDefinition, seconds: float = 30) -> str:
    """Return the scorer's address once it has a version of every model."""
    from headrace.runtime.redis.status import StatusBoard

    board = StatusBoard(redis.Redis.from_url(url), loop.name)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for status in board.read():
            if status.service == "scorer" and len(status.versions) == len(loop.models):
                return status.address
        time.sleep(0.1)
    raise SystemExit("the scorer did not become ready")


def ask(calls: dict[str, Callable[[], Any]], requests: int) -> dict[str, dict[str, float]]:
    """Call each in turns of 100, one call at a time."""
    by_call: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(-1, requests // 100):
        for name, call in calls.items():
            for _ in range(100):
                start = time.perf_counter()
                call()
                if turn >= 0:  # the first turn warms up
                    by_call[name].append(time.perf_counter() - start)
    return {
        name: {
            "p50": round(1e3 * float(np.percentile(durations, 50)), 3),
            "p99": round(1e3 * float(np.percentile(durations, 99)), 3),
        }
        for name, durations in by_call.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--bare", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        import uvloop

        uvloop.run(_bare(*arguments.bare))
        return
    with tempfile.TemporaryDirectory() as directory, broker(directory) as pulsar, store(directory) as rows:
        print(json.dumps(_measure(Path(directory), pulsar.url, rows.url, arguments.requests)))


def _measure(directory: Path, pulsar_url: str, store_url: str, requests: int) -> dict[str, Any]:
    loop = bench_loop()
    loop_file, model_file = directory / "loop.json", directory / "five.onnx"
    loop_file.write_bytes(compiled_loop.encode(loop))
    versions = [version(model) for model in loop.models]
    model_file.write_bytes(versions[1].onnx)
    history = events(loop, 100_000, time.time_ns() // 1000)
    fill(loop, store_url, history)
    publish(pulsar_url, loop, versions)
    environment = {
        "HEADRACE_LOOP": str(loop_file),
        "HEADRACE_PULSAR_URL": pulsar_url,
        "HEADRACE_REDIS_URL": store_url,
        "HEADRACE_BIND": "127.0.0.1:0",
    }
    bare = [sys.executable, __file__, "--bare", store_url, str(loop_file), str(model_file)]
    with (
        process([sys.executable, "-m", "headrace_scorer"], environment),
        process(bare, {}, stdout=subprocess.PIPE) as other,
    ):
        assert other.stdout is not None
        reference = scoring_pb2_grpc.ScoringServiceStub(
            grpc.insecure_channel(f"127.0.0.1:{int(other.stdout.readline())}")
        )
        scorer = scoring_pb2_grpc.ScoringServiceStub(grpc.insecure_channel(ready(store_url, loop)))
        asked_of = [{name: event[name] for name in (*FIELDS, "amount")} for event in history[:1000]]
        bodies = [json.dumps(event).encode() for event in asked_of]

        def one(stub: Any, model: str) -> Callable[[], Any]:
            requests = [scoring_pb2.ScoreRequest(model=model, event=body) for body in bodies]
            return lambda: stub.Score(random.choice(requests))

        def hundred(model: str) -> Callable[[], Any]:
            def call() -> Any:
                first = random.randrange(900)
                requests = [scoring_pb2.ScoreRequest(model=model, event=body) for body in bodies[first : first + 100]]
                return scorer.ScoreBatch(scoring_pb2.ScoreBatchRequest(requests=requests))

            return call

        assert abs(one(scorer, "five")().score - 0.5) <= 0.5
        percentiles = ask(
            {
                "bare_5": one(reference, "five"),
                "score_5": one(scorer, "five"),
                "score_1": one(scorer, "one"),
                "score_20": one(scorer, "twenty"),
            },
            requests,
        )
        percentiles |= ask(
            {"batch_100_of_1": hundred("one"), "batch_100_of_5": hundred("five")}, max(requests // 10, 100)
        )
    return {
        "requests": requests,
        **percentiles,
        "ratio_5_to_bare": {
            name: round(percentiles["score_5"][name] / percentiles["bare_5"][name], 3) for name in ("p50", "p99")
        },
        "ratio_20_to_1": {
            name: round(percentiles["score_20"][name] / percentiles["score_1"][name], 3) for name in ("p50", "p99")
        },
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
