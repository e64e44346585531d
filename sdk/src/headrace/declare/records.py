"""The values of a record: an event as a Python object, checked when it is made, and its JSON."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from headrace.declare.fields import ContentId, a_type, annotated_type
from headrace.definition import FieldType
from headrace.errors import InvalidEvent, all_of
from headrace.wording import instead_of, shown

#: How many characters of a wrong value an error repeats.
_SHOWN = 200
_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1


def checked_values(stream: str, annotations: Mapping[str, object], values: Mapping[str, object]) -> dict[str, object]:
    """Return the values of a record's fields, in their order; a missing one is None.

    Parameters
    ----------
    stream
        The stream's name.
    annotations
        The stream's fields.
    values
        What the caller gives, by field.

    Raises
    ------
    InvalidEvent
        A field is unknown, missing or of the wrong type: all that are, in one error.
    """
    names = [name for name, annotation in annotations.items() if annotation is not ContentId]
    errors = [
        InvalidEvent(name, f"no field of stream {stream}", f"a field. {instead_of(name, names, 'fields')}")
        for name in values
        if name not in names
    ]
    checked: dict[str, object] = {}
    for name in names:
        try:
            checked[name] = _checked_value(name, annotations[name], values)
        except InvalidEvent as error:
            errors.append(error)
    if errors:
        raise all_of(errors)
    return checked


def to_json(values: Mapping[str, object]) -> bytes:
    """Return a record's values as the JSON that ingest reads, without missing ones; times are ISO 8601."""
    return msgspec.json.encode({name: _json_value(value) for name, value in values.items() if value is not None})


def _json_value(value: object) -> object:
    if not isinstance(value, datetime):
        return value
    # A time without a zone is UTC, here as everywhere.
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()


def _checked_value(name: str, annotation: object, values: Mapping[str, object]) -> object:
    kind, optional = annotated_type(annotation)
    value = values.get(name)
    if kind is None:
        return value  # the wrong annotation is reported when the loop is compiled
    if optional and (value is None or _is_nan(value)):
        return None
    result = None if value is None else _CHECKS[kind](value)
    if result is None:
        found = shown(repr(value), _SHOWN) if name in values else "missing"
        raise InvalidEvent(name, found, _EXPECTED.get(kind, a_type(kind)) + (", or None" if optional else ""))
    return result


def _is_nan(value: object) -> bool:
    """Return whether a value is NaN, or the NaT of pandas, which is a datetime."""
    return isinstance(value, float | datetime) and value != value


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _int(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        return None
    number = int(value)
    return number if _MIN_INT <= number <= _MAX_INT else None


def _bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _string(value: Any) -> str | None:
    # Half of a surrogate pair is no text: it has no UTF-8.
    valid = isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)
    return str(value) if valid else None


def _time(value: Any) -> datetime | None:
    return value if isinstance(value, datetime) and value == value else None


_CHECKS: dict[FieldType, Callable[[Any], object]] = {
    FieldType.FLOAT: _float,
    FieldType.INT: _int,
    FieldType.BOOL: _bool,
    FieldType.STRING: _string,
    FieldType.TIME: _time,
}
_EXPECTED = {FieldType.FLOAT: "a finite float", FieldType.INT: "an int of 64 bits"}
