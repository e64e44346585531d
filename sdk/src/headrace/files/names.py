"""The mapping of columns to fields: a column may have a name that no field can have."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence


def field_name(column: str) -> str:
    """Return the name of the field that a column is read as; "" if there is none.

    Examples
    --------
    >>> [field_name(column) for column in ("pickup time", "Water flow [l/s]", "class", "1st", "_")]
    ['pickup_time', 'Water_flow_l_s', 'class_', 'n1st', '']
    """
    name = re.sub(r"\W+", "_", column).strip("_")
    if name[:1].isdigit():
        name = f"n{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


def column_places(fields: Sequence[str], header: Sequence[str]) -> dict[str, list[int]]:
    """Return the places of each field in a header: columns with its name, otherwise columns that are read as it."""
    exact = {field: [place for place, column in enumerate(header) if column == field] for field in fields}
    read_as = [field_name(column) for column in header]
    places_by_field = {
        field: places or [place for place, name in enumerate(read_as) if name == field]
        for field, places in exact.items()
    }
    return {field: places for field, places in places_by_field.items() if places}
