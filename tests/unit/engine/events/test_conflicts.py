"""The changes of a stream's fields that its topic's events survive."""

from __future__ import annotations

import json

import pytest
from msgspec import structs

from headrace.definition import Field, FieldType
from headrace.engine.events.schema import avro_schema, conflicts, fields_of
from tests.support.departed_stream import STREAM

GATE = Field("gate", FieldType.STRING)
OPTIONAL_GATE = Field("gate", FieldType.STRING, optional=True)


def test_the_fields_of_a_schema_are_read_back() -> None:
    assert fields_of(json.dumps(avro_schema(STREAM))) == STREAM.fields


def test_an_optional_field_may_come_and_go() -> None:
    wider = structs.replace(STREAM, fields=(*STREAM.fields, OPTIONAL_GATE))
    assert conflicts(wider, STREAM.fields) == conflicts(STREAM, wider.fields) == conflicts(STREAM, STREAM.fields) == []


@pytest.mark.parametrize(
    ("before", "after", "problem", "cure"),
    [
        ((), (GATE,), "'gate' is new and required", "Declare `gate: str | None`"),
        ((GATE,), (), "'gate' is required on its topic", "Declare `gate: str`"),
        ((GATE,), (OPTIONAL_GATE,), "'gate' is str | None, expected str", "Declare `gate: str`"),
        ((OPTIONAL_GATE,), (GATE,), "'gate' is str, expected str | None", "Declare `gate: str | None`"),
        ((GATE,), (Field("gate", FieldType.INT),), "'gate' is int, expected str", "Declare `gate: str`"),
    ],
)
def test_a_conflict_names_its_field_and_the_cure(
    before: tuple[Field, ...], after: tuple[Field, ...], problem: str, cure: str
) -> None:
    stream = structs.replace(STREAM, fields=(*STREAM.fields, *after))
    [conflict] = conflicts(stream, (*STREAM.fields, *before))
    assert conflict.field == "gate"
    assert problem in conflict.problem
    assert conflict.cure.startswith(cure)
    assert 'name="departed_2"' in str(conflict)
