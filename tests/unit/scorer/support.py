"""A small loop for the scorer's tests: card payments, with questions about whether they are fraud, and of what kind."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from river import compose, linear_model, preprocessing, tree

from headrace.definition import (
    Aggregate,
    AggregateDefinition,
    Apply,
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
from headrace.engine.events import StreamCodec
from headrace.engine.export import to_onnx
from headrace.engine.kernel.assembly import Assembler
from headrace.engine.kernel.layout import Layout
from headrace.engine.kernel.preparation import Folding
from headrace.engine.kernel.rows import Operations, RowSet
from headrace.errors import Unavailable
from headrace.runtime.redis.rows import row_field, row_key
from headrace.v1 import models_pb2
from headrace_scorer.ports import Fields, Unscored
from headrace_scorer.scorer import Scorer
from headrace_scorer.settings import StoreDown
from headrace_scorer.versions import Versions

SECOND = 1_000_000
HOUR = 3_600 * SECOND
#: The end of the history, and the time of the tests' clock.
NOW = 1_700_000_000 * SECOND

PAID = StreamDefinition(
    "paid",
    (
        Field("id", FieldType.STRING),
        Field("at", FieldType.TIME),
        Field("card", FieldType.STRING),
        Field("shop", FieldType.STRING, optional=True),
        Field("amount", FieldType.FLOAT),
        Field("kind", FieldType.STRING, optional=True),
    ),
    "card",
    "at",
    "id",
    lateness=60 * SECOND,
    horizon=HOUR,
    partitions=2,
)


def _view(name: str, by: str) -> ViewDefinition:
    aggregates = (AggregateDefinition("mean", "mean", "amount"), AggregateDefinition("count", "count", None))
    return ViewDefinition(
        name, "paid", (by,), None, (), aggregates, (Window("1h", HOUR, 300 * SECOND),), SECOND, 300 * SECOND
    )


FEATURES = (
    FeatureDefinition("card_mean", FieldType.FLOAT, Aggregate("by_card", "mean", "1h", ("card",))),
    FeatureDefinition(
        "card_log_count", FieldType.FLOAT, Apply("log1p", (Aggregate("by_card", "count", "1h", ("card",)),))
    ),
    FeatureDefinition("kind", FieldType.STRING, Column("kind")),
    FeatureDefinition("shop_mean", FieldType.FLOAT, Aggregate("by_shop", "mean", "1h", ("shop",))),
    FeatureDefinition("amount", FieldType.FLOAT, Column("amount")),
    FeatureDefinition("hour", FieldType.FLOAT, Apply("hour", (Column("at"),))),
)
NUMBERS = tuple(feature for feature in FEATURES if feature.type is FieldType.FLOAT)

FRAUD = ModelDefinition("fraud", "paid", "is_fraud", Task.BINARY, FEATURES, "StandardScaler | LogisticRegression")
#: Used by requests only: the scorer logs their vectors.
WORTH = ModelDefinition("worth", "paid", "value", Task.REGRESSION, NUMBERS, "LinearRegression", vectors="requests")
SORT = ModelDefinition("sort", "paid", "sort", Task.MULTICLASS, NUMBERS, "HoeffdingTreeClassifier")

LOOP = LoopDefinition(
    "shop",
    (PAID,),
    (_view("by_card", "card"), _view("by_shop", "shop")),
    (
        LabelDefinition("is_fraud", "paid", "paid", "id", Column("amount"), FieldType.BOOL, HOUR),
        LabelDefinition("value", "paid", "paid", "id", Column("amount"), FieldType.FLOAT, HOUR),
        LabelDefinition("sort", "paid", "paid", "id", Column("kind"), FieldType.STRING, HOUR),
    ),
    (FRAUD, WORTH, SORT),
)


def event(**changes: Any) -> bytes:
    """Return a request's event; None takes a field out."""
    fields = {"card": "c1", "shop": "s1", "amount": 12.5, "kind": "web"} | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def history(partitions: int = 2) -> dict[str, dict[str, bytes]]:
    """Return rows of cards c0..c2 and shops s0, s1, in some partitions: hashes by key."""
    payloads = [
        json.dumps(
            {
                "id": f"e{number}",
                "at": NOW - (60 - number) * 30 * SECOND,
                "card": f"c{number % 3}",
                "shop": f"s{number % 2}",
                "amount": float(number),
                "kind": None,
            }
        ).encode()
        for number in range(60)
    ]
    hashes: dict[str, dict[str, bytes]] = {}
    for partition in range(partitions):
        events, _, invalid = StreamCodec(PAID).columns(payloads[partition::partitions])
        assert not invalid
        for view in LOOP.views:
            layout = Layout(view)
            rows, folds = RowSet(layout), Folding(view, layout).prepare(events)
            slots = [rows.add(key or "") for key in folds.keys]
            positions = np.array([(1, place, -1) for place in range(len(slots))], np.int64)
            kinds = np.zeros(len(slots), np.int8)
            rows.run(Operations(kinds, np.array(slots, np.int64), events.times, folds.values, positions))
            for slot in sorted(set(slots)):
                fields = hashes.setdefault(row_key("shop", view.entity, rows.key(slot)), {})
                fields[row_field(view, partition)] = rows.dump([slot], 1)[0]
    return hashes


class FakeRows:
    """A store in memory, which can be down."""

    def __init__(self, hashes: Mapping[str, Mapping[str, bytes]]) -> None:
        self.hashes = hashes
        self.down = False
        self.reads: list[list[str]] = []
        self.fields: set[str] = set()

    async def fetch(self, keys: Sequence[str], fields: Sequence[tuple[str, ...]]) -> list[Fields]:
        if self.down:
            raise Unavailable("store: not connected")
        self.reads.append(list(keys))
        self.fields.update(*fields)
        return [
            [self.hashes.get(key, {}).get(field) for field in names] for key, names in zip(keys, fields, strict=True)
        ]


class FakeLog:
    """A log of served predictions in memory, which can be full."""

    def __init__(self) -> None:
        self.full = False
        self.entries: list[tuple[str, str]] = []

    def offer(self, batch: Unscored, rows: Sequence[int]) -> bool:
        if not self.full:
            self.entries.extend((batch.model.name, batch.ids[row]) for row in rows)
        return not self.full


def learner(model: ModelDefinition, rounds: int = 60) -> Any:
    """Return a River model of this definition that learned from `rounds` made-up examples."""
    pipeline: Any
    if model.task is Task.BINARY:
        numeric = compose.SelectType(float) | preprocessing.StandardScaler()
        pipeline = (
            numeric + (compose.SelectType(str) | preprocessing.OneHotEncoder())
        ) | linear_model.LogisticRegression()
    elif model.task is Task.REGRESSION:
        pipeline = preprocessing.StandardScaler() | linear_model.LinearRegression()
    else:
        pipeline = tree.HoeffdingTreeClassifier(grace_period=20)
    random = np.random.default_rng(len(model.name))
    for number in range(rounds):
        x: dict[str, Any] = {
            feature.name: str(random.choice(["web", "pos"]))
            if feature.type is FieldType.STRING
            else float(random.normal(5, 3))
            for feature in model.features
        }
        labels = {Task.BINARY: x["amount"] > 5, Task.REGRESSION: x["amount"] * 2, Task.MULTICLASS: "abc"[number % 3]}
        pipeline.learn_one(x, labels[model.task])
    return pipeline


def version(of: ModelDefinition, examples: int = 60, **changes: Any) -> models_pb2.ModelVersion:
    """Return the version that the learner would publish."""
    exported = to_onnx(learner(of, examples), of.features, of.task)
    published = models_pb2.ModelVersion(
        model=of.name,
        definition=of.hash,
        examples=examples,
        features=[models_pb2.Feature(name=feature.name, type=feature.type.value) for feature in of.features],
        classes=exported.classes,
        task=of.task.value,
        metrics={"accuracy": 0.75},
        onnx=exported.onnx,
        sha256=hashlib.sha256(exported.onnx).digest(),
    )
    for name, value in changes.items():
        setattr(published, name, value)
    return published


def asked_of_river(model: ModelDefinition, pipeline: Any, vector: Mapping[str, float | str | None]) -> Any:
    """Return River's answer for a vector: a missing value is a missing key."""
    x = {
        name: value
        for name, value in vector.items()
        if value is not None and not (isinstance(value, float) and math.isnan(value))
    }
    if model.task is Task.REGRESSION:
        return pipeline.predict_one(x)
    found = pipeline.predict_proba_one(x)
    return found[True] if model.task is Task.BINARY else found


class Notes:
    """A record of the reports about versions."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, what: str, **details: Any) -> None:
        self.told.append((what, details))

    @property
    def reasons(self) -> str:
        return " ".join(str(details.get("reason", "")) for _, details in self.told)


def versions(*published: models_pb2.ModelVersion) -> Versions:
    """Return the versions of the loop, with these on the topic."""
    result = Versions(LOOP, Notes())
    result.offer(list(published))
    return result


def scorer(
    versions: Versions,
    rows: FakeRows | None = None,
    log: FakeLog | None = None,
    store_down: StoreDown = StoreDown.FAIL,
    max_in_flight: int = 100,
) -> Scorer:
    """Return a scorer of the loop, whose clock shows `NOW`."""
    return Scorer(
        LOOP,
        versions,
        Assembler,
        rows or FakeRows(history()),
        log=FakeLog() if log is None else log,
        clock=lambda: NOW,
        store_down=store_down,
        max_in_flight=max_in_flight,
    )
