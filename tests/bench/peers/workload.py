"""The work that every target gets: 20 features in 1, 5 and 20 views, a thousand entities, one model each."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import redis

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
from tests.bench.bench_scorer import FIELDS, HOUR, KEYS, MINUTE

MODELS = ("one", "five", "twenty")

_AGGREGATES = tuple(
    AggregateDefinition(operation, operation, None if operation == "count" else "amount")
    for operation in ("mean", "count", "sum", "min", "max")
)
_WINDOWS = tuple(
    Window(f"{hours}h", hours * HOUR, hop * MINUTE) for hours, hop in ((1, 5), (6, 30), (12, 60), (24, 120))
)


def peers_loop() -> LoopDefinition:
    """Build a loop whose models have 20 features of 1, 5 and 20 views, and one of the request."""
    fields = [Field("id", FieldType.STRING), Field("at", FieldType.TIME)]
    fields += [Field(name, FieldType.STRING) for name in FIELDS]
    fields.append(Field("amount", FieldType.FLOAT))
    stream = StreamDefinition("paid", tuple(fields), "user", "at", "id", lateness=MINUTE, horizon=HOUR)
    views = {
        "one": [_view("one", "user", _AGGREGATES, _WINDOWS)],
        "five": [_view(f"five_{name}", name, _AGGREGATES[:2], _WINDOWS[::3]) for name in FIELDS],
        "twenty": [_view(f"twenty_{place}", "user", _AGGREGATES[:1], _WINDOWS[:1]) for place in range(20)],
    }
    label = LabelDefinition("fraud", "paid", "paid", "id", Column("amount"), FieldType.BOOL, HOUR)
    every = tuple(view for model in MODELS for view in views[model])
    return LoopDefinition("peers", (stream,), every, (label,), tuple(_model(name, views[name]) for name in MODELS))


def _view(
    name: str, field: str, aggregates: tuple[AggregateDefinition, ...], windows: tuple[Window, ...]
) -> ViewDefinition:
    return ViewDefinition(name, "paid", (field,), None, (), aggregates, windows, 1_000_000, 5 * MINUTE)


def _model(name: str, views: Sequence[ViewDefinition]) -> ModelDefinition:
    features = [
        FeatureDefinition(feature, FieldType.FLOAT, Aggregate(view.name, aggregate.name, window.name, view.by))
        for view in views
        for aggregate in view.aggregates
        for window in view.windows
        for feature in [f"{view.name}_{aggregate.name}_{window.name}"]
    ]
    features.append(FeatureDefinition("amount", FieldType.FLOAT, Column("amount")))
    return ModelDefinition(name, "paid", "fraud", Task.BINARY, tuple(features), "bench")


def features_by_view(loop: LoopDefinition, model: str) -> dict[str, list[str]]:
    """Return the names of a model's features by the view that they come from, in the model's order."""
    names: dict[str, list[str]] = {}
    for feature in loop.model(model).features:
        if isinstance(feature.value, Aggregate):
            names.setdefault(feature.value.view, []).append(feature.name)
    return names


@dataclass(frozen=True)
class Workload:
    """Requests, the feature values that the peers store, and the answers that are right for them."""

    loop: LoopDefinition
    requests: tuple[dict[str, Any], ...]
    #: Values by view, entity and feature: the natural form of headrace's rows.
    values: dict[str, dict[str, dict[str, float]]]

    def vector(self, model: str, number: int) -> list[float]:
        """Return the values of a model's features for a request, as a peer must find them."""
        request = self.requests[number]
        vector: list[float] = []
        for view in self.loop.views_of(self.loop.model(model)):
            vector += self.values[view.name][request[view.by[0]]].values()
        return [*vector, request["amount"]]


def make_workload(loop: LoopDefinition, history: Sequence[dict[str, Any]]) -> Workload:
    """Make a request of each of the last events, and random values for the features of every entity."""
    rng = random.Random(7)
    names = {view: features for model in MODELS for view, features in features_by_view(loop, model).items()}
    values = {
        view.name: {
            f"{view.by[0]}{number}": {feature: rng.gauss(0, 1) for feature in names[view.name]}
            for number in range(KEYS)
        }
        for view in loop.views
    }
    requests = tuple({name: event[name] for name in (*FIELDS, "amount")} for event in history[-1_000:])
    return Workload(loop, requests, values)


def write_files(workload: Workload, models: dict[str, bytes], directory: Path) -> None:
    """Write what a peer's server reads at its start: the models, their features by view, and the values."""
    loop = workload.loop
    description = {
        model: [
            {"view": view.name, "entity": view.by[0], "features": features_by_view(loop, model)[view.name]}
            for view in loop.views_of(loop.model(model))
        ]
        for model in MODELS
    }
    (directory / "models.json").write_text(json.dumps(description))
    (directory / "requests.json").write_text(json.dumps(workload.requests))
    (directory / "values.json").write_text(json.dumps(workload.values))
    for model, onnx in models.items():
        (directory / f"{model}.onnx").write_bytes(onnx)


def fill_hashes(workload: Workload, url: str) -> None:
    """Write the values as most users would: a hash for each view and entity, a field for each feature."""
    pipe = redis.Redis.from_url(url).pipeline(transaction=False)
    for view, rows in workload.values.items():
        for entity, row in rows.items():
            pipe.hset(f"{view}:{entity}", mapping={name: repr(value) for name, value in row.items()})
    pipe.execute()


def right_scores(workload: Workload, onnx: bytes, model: str, numbers: Sequence[int]) -> list[float]:
    """Return the scores of requests by the model itself."""
    session = onnxruntime.InferenceSession(onnx)
    vectors = [workload.vector(model, number) for number in numbers]
    (scores,) = session.run(["score"], {"numbers": vectors})
    return [float(score) for score in scores]
