"""A small loop for the oracle's own tests, with its messages made by hand."""

from __future__ import annotations

import json
from typing import Any

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
from tests.oracle.record import Message

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

#: A multiple of an hour, so that windows begin there.
START = 1_700_002_800 * SECOND


def stream(name: str, *fields: Field, **options: Any) -> StreamDefinition:
    all_fields = (Field("id", FieldType.STRING), Field("at", FieldType.TIME), *fields)
    settings = {"lateness": 10 * SECOND, "horizon": HOUR, **options}
    return StreamDefinition(name, all_fields, key="id", time="at", id="id", **settings)


PAID = stream("paid", Field("card", FieldType.STRING, optional=True), Field("amount", FieldType.FLOAT, optional=True))
OUTCOME = stream("outcome", Field("of", FieldType.STRING), Field("fraud", FieldType.BOOL, optional=True))

OF_CARD = ViewDefinition(
    "of_card",
    "paid",
    ("card",),
    None,
    (),
    (AggregateDefinition("count", "count", None), AggregateDefinition("sum", "sum", "amount")),
    (Window("1h", HOUR, 5 * MINUTE),),
    SECOND,
    HOUR,
)
FRAUD = LabelDefinition("fraud", "outcome", "paid", "of", Column("fraud"), FieldType.BOOL, within=MINUTE)
MODEL = ModelDefinition(
    "model",
    "paid",
    "fraud",
    Task.BINARY,
    (
        FeatureDefinition("count", FieldType.FLOAT, Aggregate("of_card", "count", "1h", ("card",))),
        FeatureDefinition("sum", FieldType.FLOAT, Aggregate("of_card", "sum", "1h", ("card",))),
        FeatureDefinition("amount", FieldType.FLOAT, Column("amount")),
    ),
    "",
)
LOOP = LoopDefinition("loop", (PAID, OUTCOME), (OF_CARD,), (FRAUD,), (MODEL,), idle=SECOND)


def message(place: int, payload: object = None, at: int = START, **properties: str) -> Message:
    """Return a message; `at` is when it was published (µs)."""
    named = {f"headrace-{name}": value for name, value in properties.items()}
    data = b"" if payload is None else payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Message((1, place, -1), data, named, at // 1_000)


def payment(name: str, seconds: float, **fields: object) -> dict[str, object]:
    return {"id": name, "at": START + round(seconds * SECOND), **fields}


def outcome(name: str, of: str, seconds: float, fraud: bool | None = True, extra: int = 0) -> dict[str, object]:
    return {"id": name, "at": START + round(seconds * SECOND) + extra, "of": of, "fraud": fraud}
