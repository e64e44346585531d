"""Values of a stream's fields from the cells of a table, one column at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from headrace.definition import Field, FieldType
from headrace.engine.events.codec import read_value
from headrace.engine.events.timestamps import UNITS
from headrace.errors import InvalidEvent
from headrace.wording import as_json

#: A column's values, and the errors of its invalid cells, by row.
Column = tuple[list[Any], dict[int, InvalidEvent]]

_BOOLS = {"true": True, "false": False, "1": True, "0": False}
#: Number of digits of a date in the basic form of ISO 8601: 20260101.
_BASIC_DATE = 8
#: The longest number that is parsed, in characters: 1e999999999 would be an integer of a gigabyte.
_LONGEST_NUMBER = 40
#: Integers below this bound need no closer check.
_LARGE = 2**63


def text_column(field: Field, cells: Sequence[str], form: str | None = None) -> Column:
    """Read values from text: an empty cell is a missing value. `form` is the format of times.

    Examples
    --------
    >>> text_column(Field("delay", FieldType.FLOAT, optional=True), ["1.5", ""])
    ([1.5, None], {})
    """
    if "" not in cells:
        if field.type is FieldType.STRING:
            return list(cells), {}
        if field.type is FieldType.FLOAT and (numbers := _floats(cells)):
            return numbers, {}
        if field.type is FieldType.INT and (integers := _integers(cells)):
            return integers, {}
    return _each(field, cells, lambda cell: from_text(field, cell, form))


def value_column(field: Field, values: Sequence[Any], form: str | None = None) -> Column:
    """Read values from Python objects, as a typed file has them."""
    return _each(field, values, lambda value: from_typed(field, value, form))


def from_text(field: Field, text: str, form: str | None = None) -> Any:
    """Read one value from its text.

    Raises
    ------
    InvalidEvent
        It is not a value of the field's type.
    """
    if text == "":
        return read_value(field, msgspec.UNSET)
    # Spaces after a comma are part of texts alone. Only Python's numbers may have underscores.
    plain = text if field.type is FieldType.STRING else text.strip()
    parsed = plain if "_" in plain else _parse(field.type, plain, form)
    try:
        return read_value(field, parsed, form)
    except InvalidEvent as error:
        # Show the value as it is in the file.
        raise InvalidEvent(field.name, as_json(text), error.expected + _cure(field, plain, form)) from None


def _cure(field: Field, text: str, form: str | None) -> str:
    """Return what to do about a text that spreadsheets write; empty if nothing is known."""
    if field.type is FieldType.TIME and form is None and not text.lstrip("+-").isdigit():
        return '; another format is declared, as in Stream(..., time_format="%d.%m.%Y")'
    if field.type in (FieldType.FLOAT, FieldType.INT) and _floats([text.replace(",", ".")]) and "," in text:
        return ": write 12,5 as 12.5, and 1,000 as 1000"
    return ""


def from_typed(field: Field, value: Any, form: str | None = None) -> Any:
    """Read one value from a typed one. Whole numbers may be stored as floats, if some are missing, or as decimals.

    Raises
    ------
    InvalidEvent
        It is not a value of the field's type.
    """
    if isinstance(value, str):
        return value if field.type is FieldType.STRING else from_text(field, value, form)
    if isinstance(value, float) and math.isnan(value) and field.type in (FieldType.INT, FieldType.TIME):
        value = None
    if isinstance(value, Decimal):
        return _from_decimal(field, value, form)
    return read_value(field, value, form)


def _from_decimal(field: Field, value: Decimal, form: str | None) -> Any:
    if field.type is FieldType.FLOAT:
        return read_value(field, float(value))
    if field.type is FieldType.INT and value == value.to_integral_value():
        return read_value(field, int(value))
    return read_value(field, value, form)


def _parse(kind: FieldType, text: str, form: str | None) -> Any:
    """Parse a cell's text as the type of its field; return the text itself if that fails."""
    try:
        if kind is FieldType.FLOAT:
            return float(text)
        if kind is FieldType.INT:
            return _int(text)
        if kind is FieldType.TIME:
            return _number_of_time(text, form)
    except (ValueError, InvalidOperation):
        return text
    return _BOOLS.get(text.lower(), text) if kind is FieldType.BOOL else text


def _int(text: str) -> int | str:
    """Parse an integer, even in the form of a fraction, as pandas writes it beside a missing value: 5.0."""
    if len(text) > _LONGEST_NUMBER:
        return text
    number = Decimal(text)
    integral = number.is_finite() and number.adjusted() < _LONGEST_NUMBER and number == number.to_integral_value()
    return int(number) if integral else text


def _number_of_time(text: str, form: str | None) -> Any:
    """Parse a number unless the time's pattern reads it; without a declared unit, 20260101 is a date."""
    if "-" in text[1:] or (form not in UNITS and (form is not None or (len(text) == _BASIC_DATE and text.isdigit()))):
        return text
    return Decimal(text) if len(text) <= _LONGEST_NUMBER else text


def _floats(cells: Sequence[str]) -> list[float] | None:
    """Parse a whole column at once; return None if anything is unusual."""
    try:
        numbers = list(map(float, cells))
    except ValueError:
        return None
    return numbers if math.isfinite(sum(numbers)) and "_" not in "".join(cells) else None


def _integers(cells: Sequence[str]) -> list[int] | None:
    """Parse a whole column at once; return None if anything is unusual."""
    if max(map(len, cells)) > _LONGEST_NUMBER or "_" in "".join(cells):
        return None
    try:
        numbers = list(map(int, cells))
    except ValueError:
        return None
    return numbers if min(numbers) > -_LARGE and max(numbers) < _LARGE else None


def _each(field: Field, cells: Sequence[Any], read: Callable[[Any], Any]) -> Column:
    values: list[Any] = []
    faults: dict[int, InvalidEvent] = {}
    for index, cell in enumerate(cells):
        try:
            values.append(read(cell))
        except InvalidEvent as error:
            values.append(_invalid_as_json(field, cell))
            faults[index] = error.detached()
    return values, faults


def _invalid_as_json(field: Field, cell: Any) -> Any:
    """Return an invalid cell as JSON can hold it, in a form that stays invalid when the refused event is read again.

    JSON has no NaN, infinity or decimals, so they become text; outside a list, that text could be a valid value.
    """
    if not isinstance(cell, float | Decimal):
        return cell
    return str(cell) if field.type is FieldType.FLOAT else [str(cell)]
