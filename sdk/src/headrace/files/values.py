"""Values of a stream's fields from the cells of a table, a column at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from headrace.definition import Field, FieldType
from headrace.errors import InvalidEvent
from headrace.events.codec import read_value

#: A column's values, and what is wrong in which row.
Column = tuple[list[Any], dict[int, InvalidEvent]]

_BOOLS = {"true": True, "false": False, "1": True, "0": False}


def text_column(field: Field, cells: Sequence[str]) -> Column:
    """Values from text: an empty cell is a missing value.

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
    return _each(field, cells, from_text)


def value_column(field: Field, values: Sequence[Any]) -> Column:
    """Values from Python's own, as a typed file has them."""
    return _each(field, values, from_typed)


def from_text(field: Field, text: str) -> Any:
    """One value from its text.

    Raises
    ------
    InvalidEvent
        It is no value of the field's type.
    """
    if text == "":
        return read_value(field, msgspec.UNSET)
    parse = _PARSE.get(field.type)
    if parse is None or "_" in text:  # Python's numbers may have underscores, nobody else's
        return read_value(field, text)
    try:
        return read_value(field, parse(text))
    except (ValueError, KeyError, InvalidEvent):
        # What is wrong is told as the file has it.
        return read_value(field, text)


def from_typed(field: Field, value: Any) -> Any:
    """One value from a typed one. Whole numbers may be stored as floats, where some are missing.

    Raises
    ------
    InvalidEvent
        It is no value of the field's type.
    """
    if isinstance(value, str):
        return value if field.type is FieldType.STRING else from_text(field, value)
    if isinstance(value, float) and field.type in (FieldType.INT, FieldType.TIME):
        if math.isnan(value):
            value = None
        elif value.is_integer():
            value = int(value)
    return read_value(field, value)


def _floats(cells: Sequence[str]) -> list[float] | None:
    """All of a column at once; None where anything is unusual."""
    try:
        numbers = list(map(float, cells))
    except ValueError:
        return None
    return numbers if math.isfinite(sum(numbers)) and "_" not in "".join(cells) else None


def _each(field: Field, cells: Sequence[Any], read: Callable[[Field, Any], Any]) -> Column:
    values: list[Any] = []
    faults: dict[int, InvalidEvent] = {}
    for index, cell in enumerate(cells):
        try:
            values.append(read(field, cell))
        except InvalidEvent as error:
            # JSON has no NaN and no infinity: they stay what they are as text.
            values.append(str(cell) if isinstance(cell, float) else cell)
            faults[index] = error
    return values, faults


def _bool(text: str) -> bool:
    return _BOOLS[text.lower()]


def _time(text: str) -> int | str:
    return int(text) if text.lstrip("-").isdigit() else text


_PARSE: dict[FieldType, Callable[[str], Any]] = {
    FieldType.FLOAT: float,
    FieldType.INT: int,
    FieldType.BOOL: _bool,
    FieldType.TIME: _time,
}
