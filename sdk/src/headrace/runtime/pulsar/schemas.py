"""Comparison of a loop's streams with the schemas that the broker holds for their topics."""

from __future__ import annotations

import json

from headrace.definition import LoopDefinition, StreamDefinition
from headrace.engine.events.schema import SchemaConflict, avro_schema, conflicts, fields_of
from headrace.errors import IncompatibleSchema
from headrace.runtime.pulsar.admin import Admin
from headrace.wire.topics import Topics


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
