"""Schemas of a loop's streams: for producers, and in comparison with those that the broker holds."""

from __future__ import annotations

import json

import pulsar

from headrace.definition import LoopDefinition, StreamDefinition
from headrace.engine.events.schema import SchemaConflict, avro_schema, conflicts, fields_of
from headrace.errors import IncompatibleSchema
from headrace.runtime.pulsar.admin import Admin
from headrace.wire.topics import Topics


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


def check_schemas(admin: Admin, loop: LoopDefinition, namespace: str) -> None:
    """Make sure that the broker will accept the schemas of a loop's streams; this changes nothing.

    Raises
    ------
    IncompatibleSchema
        It will not; the error names each field with its cure.
    Unavailable
        The broker does not answer.
    """
    # A broker that is asked for a topic of a missing namespace remembers wrong bundles for the namespace.
    if not admin.has_namespace(namespace):
        return
    problems = [conflict for stream in loop.streams for conflict in schema_conflicts(admin, loop, stream, namespace)]
    if problems:
        raise IncompatibleSchema(tuple(map(str, problems)))


def schema_conflicts(
    admin: Admin, loop: LoopDefinition, stream: StreamDefinition, namespace: str
) -> list[SchemaConflict]:
    """Return why the broker would not accept a stream's schema; the broker decides, by its own compatibility rule."""
    topic = Topics(loop.name, namespace).stream(stream.name)
    schema = admin.schema(topic)
    if schema is None or fields_of(schema) == stream.fields:
        return []
    rule = admin.refuses_schema(topic, json.dumps(avro_schema(stream)))
    if not rule:
        return []
    problem = f"the broker refuses its schema ({rule}); it has {' '.join(schema.split())}"
    unknown = SchemaConflict(stream.name, "", problem, "Declare these fields, or use a stream of another name")
    return conflicts(stream, fields_of(schema)) or [unknown]
