"""The schema of a stream's topic, as producers register it."""

from __future__ import annotations

import pulsar

from headrace.definition import StreamDefinition
from headrace.engine.events.schema import avro_schema


class StreamSchema(pulsar.schema.Schema):  # type: ignore[misc]
    """The schema of a stream's topic, as producers in any language register or check it.

    Payloads are bytes already: headrace encodes and checks events itself.
    """

    def __init__(self, stream: StreamDefinition) -> None:
        super().__init__(bytes, pulsar.schema.schema._pulsar.SchemaType.JSON, avro_schema(stream), "JSON")

    def encode(self, obj: bytes) -> bytes:
        return obj

    def decode(self, data: bytes) -> bytes:
        return data
