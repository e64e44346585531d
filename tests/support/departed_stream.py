"""A stream with a field of each type."""

from __future__ import annotations

from headrace.definition import Field, FieldType, StreamDefinition

STREAM = StreamDefinition(
    name="departed",
    fields=(
        Field("flight", FieldType.STRING),
        Field("at", FieldType.TIME),
        Field("tail", FieldType.STRING, optional=True),
        Field("delay", FieldType.FLOAT),
        Field("night", FieldType.BOOL),
    ),
    key="tail",
    time="at",
    id="flight",
    lateness=0,
    horizon=0,
    time_format="us",
)
