"""A stream for the tests of ingest, and its events."""

from __future__ import annotations

import json

from headrace.definition import Field, FieldType, StreamDefinition

SECOND = 1_000_000


def stream(name: str = "clicks", lateness: int = 10 * SECOND, ahead: int | None = None) -> StreamDefinition:
    fields = (Field("id", FieldType.STRING), Field("at", FieldType.TIME), Field("user", FieldType.STRING))
    return StreamDefinition(
        name,
        fields,
        key="user",
        time="at",
        id="id",
        lateness=lateness,
        horizon=0,
        max_bytes=1_000,
        ahead=ahead,
        time_format="us",
    )


def event(id: str = "a", at: object = 0, **more: object) -> bytes:
    return json.dumps({"id": id, "at": at, "user": "u"} | more).encode()
