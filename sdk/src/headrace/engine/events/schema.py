"""The schema of a stream's topic, and whether events of an older schema still fit the stream."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from headrace.definition import Field, FieldType, StreamDefinition

_AVRO: dict[FieldType, Any] = {
    FieldType.FLOAT: "double",
    FieldType.INT: "long",
    FieldType.BOOL: "boolean",
    FieldType.STRING: "string",
    FieldType.TIME: {"type": "long", "logicalType": "timestamp-micros"},
}
_PYTHON = {
    FieldType.FLOAT: "float",
    FieldType.INT: "int",
    FieldType.BOOL: "bool",
    FieldType.STRING: "str",
    FieldType.TIME: "datetime",
}


class SchemaConflict(NamedTuple):
    """A field that prevents a topic's events from being events of the stream.

    Attributes
    ----------
    problem
        What differs.
    cure
        What to write instead.
    """

    stream: str
    field: str
    problem: str
    cure: str

    def __str__(self) -> str:
        return f"stream {self.stream}: {self.problem}. {self.cure}"


def avro_schema(stream: StreamDefinition) -> dict[str, Any]:
    """Return the stream's schema in the form that brokers keep: an Avro record."""
    return {
        "type": "record",
        "name": stream.name,
        "fields": [
            {"name": field.name, "type": ["null", _AVRO[field.type]], "default": None}
            if field.optional
            else {"name": field.name, "type": _AVRO[field.type]}
            for field in stream.fields
        ],
    }


def fields_of(avro: bytes | str) -> tuple[Field, ...]:
    """Return the fields of a broker's schema; fields of types that no stream has are left out."""
    record = json.loads(avro)
    fields = []
    for entry in record.get("fields", ()):
        kinds = entry["type"] if isinstance(entry["type"], list) else [entry["type"]]
        types = [kind for kind in kinds if kind != "null"]
        matches = [field_type for field_type, kind in _AVRO.items() if types == [kind]]
        if matches:
            fields.append(Field(entry["name"], matches[0], optional="null" in kinds))
    return tuple(fields)


def conflicts(stream: StreamDefinition, before: Iterable[Field]) -> list[SchemaConflict]:
    """Return the fields for which events written with the fields `before` do not fit the stream, or vice versa.

    A field may be added or removed if it is optional; all its other properties are fixed.
    """
    old, new = {field.name: field for field in before}, {field.name: field for field in stream.fields}
    return [
        *(_addition(stream, field) for name, field in new.items() if name not in old and not field.optional),
        *(_removal(stream, field) for name, field in old.items() if name not in new and not field.optional),
        *(_change(stream, old[name], field) for name, field in new.items() if name in old and old[name] != field),
    ]


def _addition(stream: StreamDefinition, field: Field) -> SchemaConflict:
    problem = f"field {field.name!r} is new and required, and the events on its topic do not have it"
    return SchemaConflict(stream.name, field.name, problem, f"{_annotate(_optional(field))}; or {_elsewhere(stream)}")


def _removal(stream: StreamDefinition, field: Field) -> SchemaConflict:
    problem = f"field {field.name!r} is required on its topic, and the loop does not have it"
    return SchemaConflict(stream.name, field.name, problem, f"{_annotate(field)}; or {_elsewhere(stream)}")


def _change(stream: StreamDefinition, old: Field, new: Field) -> SchemaConflict:
    problem = f"field {new.name!r} is {_type(new)}, expected {_type(old)}, which it is on its topic"
    return SchemaConflict(stream.name, new.name, problem, f"{_annotate(old)}; or {_elsewhere(stream)}")


def _optional(field: Field) -> Field:
    return Field(field.name, field.type, optional=True)


def _type(field: Field) -> str:
    return f"{_PYTHON[field.type]}{' | None' if field.optional else ''}"


def _annotate(field: Field) -> str:
    return f"Declare `{field.name}: {_type(field)}`"


def _elsewhere(stream: StreamDefinition) -> str:
    return f'give the new events a topic of their own, a stream of another name: name="{stream.name}_2"'
