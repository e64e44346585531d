"""The types of a stream's fields, as a loop file annotates them."""

from __future__ import annotations

import types
from datetime import datetime
from typing import Union, get_args, get_origin

from headrace.definition import FieldType

#: The types that a field may be annotated with.
TYPES: dict[object, FieldType] = {
    float: FieldType.FLOAT,
    int: FieldType.INT,
    bool: FieldType.BOOL,
    str: FieldType.STRING,
    datetime: FieldType.TIME,
}

#: The id of a stream whose events are identified by their content, and the field that holds it.
CONTENT = "content"


class ContentId(str):
    """The type of the field that holds an id computed from the event's content."""


#: The names of types in a loop file.
PYTHON = {kind: python.__name__ for python, kind in TYPES.items() if isinstance(python, type)}


def a_type(kind: FieldType | None) -> str:
    """Return a type's name for an error message."""
    python = PYTHON[kind] if kind else "something"
    return f"{'an' if python == 'int' else 'a'} {python}"


def annotated_type(annotation: object) -> tuple[FieldType | None, bool]:
    """Return the type that an annotation gives a field, None if it is no field's, and whether it is optional."""
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        optional = len(members) < len(get_args(annotation))
        return (_single_type(members[0]), optional) if len(members) == 1 else (None, optional)
    return _single_type(annotation), False


def _single_type(annotation: object) -> FieldType | None:
    if annotation is ContentId:
        return FieldType.STRING
    return TYPES.get(annotation) if isinstance(annotation, type) else None


def annotation_text(annotation: object) -> str:
    """Return an annotation for an error message."""
    return annotation.__name__ if type(annotation) is type else str(annotation)
