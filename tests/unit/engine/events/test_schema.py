"""The schema that a stream registers equals that of a record written by hand."""

from __future__ import annotations

import json
from typing import Any

from pulsar.schema import Boolean, Double, JsonSchema, Long, Record, String

from headrace.engine.events import StreamCodec
from headrace.runtime.pulsar.stream_schema import StreamSchema
from tests.support.departed_stream import STREAM


class departed(Record):  # type: ignore[misc]  # noqa: N801
    flight = String(required=True)
    at = Long(required=True)
    tail = String()
    delay = Double(required=True)
    night = Boolean(required=True)


def avro(schema: Any) -> Any:
    info = schema.schema_info()
    return json.loads(info.schema())


def resolved(schema: Any) -> dict[str, Any]:
    """Return what Avro compares: the record's name, and each field's type without its logical type."""

    def plain(kind: Any) -> Any:
        if isinstance(kind, list):
            return [plain(item) for item in kind]
        return kind["type"] if isinstance(kind, dict) else kind

    return {"name": schema["name"], "fields": {field["name"]: plain(field["type"]) for field in schema["fields"]}}


def test_a_record_by_hand_has_the_streams_schema() -> None:
    assert resolved(avro(StreamSchema(STREAM))) == resolved(avro(JsonSchema(departed)))


def test_what_the_record_writes_is_an_event() -> None:
    payload = JsonSchema(departed).encode(departed(flight="UA1", at=5, delay=1.5, night=True))
    _, key, time = StreamCodec(STREAM).canonical(payload)
    assert (key, time) == ("", 5)
