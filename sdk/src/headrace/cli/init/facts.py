"""Facts about a table's columns, as far as its rows show them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace.definition import Field, FieldType
from headrace.errors import InvalidEvent
from headrace.files import cells_of, field_name
from headrace.files.lines import take
from headrace.files.values import from_text

#: Rows that are examined closely; later rows only count for how far the table is out of order.
CLOSE = 50_000
#: The most characters of these rows: fewer rows are examined if they are long.
_CLOSE_SIZE = 2**26
#: How many distinct values of a column are kept.
_KEPT = 1_000
#: Texts for a missing value in tables of R, pandas and databases.
_PLACEHOLDERS = frozenset({"NA", "N/A", "NaN", "nan", "null", "NULL", "None", "\\N", "?"})
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d{0,17})(\.0+)?")
_NUMBER = re.compile(r"[+-]?(?=\.?\d)(0|[1-9]\d*)?(\.\d*)?([eE][+-]?\d+)?")
_BASIC_DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])")
_ABOUT_TIME = re.compile(r"time|date|stamp|epoch|(^|_)(at|ts|on|when)$", re.IGNORECASE)
#: Patterns of dates, and the range of numbers that stand for the years 1980 to 2100, in each unit.
_PATTERNS = tuple(
    f"{day}{clock}"
    for day in ("%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%b %d %Y", "%d %b %Y", "%Y%m%d")
    for clock in ("", " %H:%M:%S", " %H:%M")
)
_SECONDS = (315_000_000, 4_110_000_000)
_UNITS = {
    unit: (_SECONDS[0] * scale, _SECONDS[1] * scale)
    for unit, scale in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9))
}
_MOMENT = Field("", FieldType.TIME)


@dataclass(eq=False)
class Column:
    """A column of a table.

    Attributes
    ----------
    name
        The name of the field that it becomes.
    place
        Its place in a row.
    kind, form
        The type of its values, and how its times are written (see `StreamDefinition.time_format`).
    rows, missing
        How many rows were looked at, and how many of them have no value.
    placeholders
        Texts for a missing value, besides an empty cell.
    distinct
        How many different values it has.
    values
        How often each value occurs, unless there are too many.
    low, high
        The smallest and the largest number or time (µs).
    """

    name: str
    place: int
    kind: FieldType = FieldType.STRING
    form: str | None = None
    rows: int = 0
    missing: int = 0
    placeholders: set[str] = field(default_factory=set)
    distinct: int = 0
    values: dict[str, int] = field(default_factory=dict)
    unique: bool = True
    low: float = float("inf")
    high: float = float("-inf")
    example: str = ""

    def time(self, cells: Sequence[str]) -> int | None:
        """Return the time (µs) of a row in this column."""
        return time_of(cells[self.place], self.form)


@dataclass
class Table:
    """A file, as it was examined.

    Attributes
    ----------
    sample
        Rows that were examined closely.
    rows
        The number of all rows.
    repeated
        How many rows of the sample repeat another one.
    """

    path: Path
    names: list[str]
    columns: list[Column]
    unnamed: list[str]
    sample: list[list[str]]
    rows: int = 0
    repeated: int = 0

    @property
    def complete(self) -> bool:
        """Whether all rows were examined closely."""
        return self.rows <= len(self.sample)

    @property
    def placeholders(self) -> list[str]:
        """The texts that stand for a missing value in any column."""
        return sorted({text for column in self.columns for text in column.placeholders})

    def is_missing(self, column: Column, cells: Sequence[str]) -> bool:
        """Return whether a row has no value in a column."""
        return not cells[column.place] or cells[column.place] in column.placeholders

    def disorder(self, column: Column) -> int:
        """Return by how much (µs) a row is older than an earlier one, at most."""
        newest, disorder = -(2**63), 0
        with cells_of(self.path) as (_, rows):
            for cells in rows:
                time = column.time(cells)
                if time is not None:
                    newest = max(newest, time)
                    disorder = max(disorder, newest - time)
        return disorder


def look_at(path: Path) -> Table:
    """Examine a file.

    Raises
    ------
    InvalidRequest
        Its format is unknown.
    """
    with cells_of(path) as (names, rows):
        sample = take(rows, CLOSE, lambda cells: sum(map(len, cells)), _CLOSE_SIZE)
        count = len(sample) + sum(1 for _ in rows)
    fields = [field_name(name) for name in names]
    duplicates = {name for name in fields if fields.count(name) > 1}
    columns = [
        _column(name, place, [cells[place] for cells in sample])
        for place, name in enumerate(fields)
        if name and name not in duplicates
    ]
    unnamed = [
        names[place] or f"column {place + 1}" for place, name in enumerate(fields) if not name or name in duplicates
    ]
    repeated = len(sample) - len({tuple(cells) for cells in sample})
    return Table(path, names, columns, unnamed, sample, count, repeated)


def _column(name: str, place: int, cells: list[str]) -> Column:
    column = Column(name, place, rows=len(cells))
    present = [cell for cell in cells if cell and cell not in _PLACEHOLDERS]
    column.placeholders = {cell for cell in set(cells) if cell in _PLACEHOLDERS}
    column.missing = len(cells) - len(present)
    counts: dict[str, int] = {}
    for cell in present:
        counts[cell] = counts.get(cell, 0) + 1
    column.unique = len(counts) == len(present) > 0
    column.distinct, column.values = len(counts), counts if len(counts) <= _KEPT else {}
    column.example = present[-1] if present else ""
    column.kind, column.form = _kind(name, list(counts))
    numbers = list(_numbers(column, counts))
    column.low, column.high = min(numbers, default=column.low), max(numbers, default=column.high)
    return column


def _kind(name: str, values: list[str]) -> tuple[FieldType, str | None]:
    """Return the type of a column's values, and, for times, how they are written."""
    if not values:
        return FieldType.STRING, None
    if all(value.lower() in ("true", "false") for value in values):
        return FieldType.BOOL, None
    if all(_NUMBER.fullmatch(value) and value.strip("+-.eE") for value in values):
        return _kind_of_numbers(name, values)
    for form in (None, *_PATTERNS):
        if all(time_of(value, form) is not None for value in values):
            return FieldType.TIME, form
    return FieldType.STRING, None


def _kind_of_numbers(name: str, values: list[str]) -> tuple[FieldType, str | None]:
    if all(_BASIC_DATE.fullmatch(value) for value in values):
        return FieldType.TIME, None
    numbers = [float(value) for value in values]
    for unit, (low, high) in _UNITS.items():
        if _ABOUT_TIME.search(name) and low <= min(numbers) and max(numbers) <= high:
            return FieldType.TIME, unit
    return (FieldType.INT if all(map(_WHOLE.fullmatch, values)) else FieldType.FLOAT), None


def _numbers(column: Column, values: dict[str, int]) -> Iterator[float]:
    if column.kind in (FieldType.INT, FieldType.FLOAT):
        yield from map(float, values)
    if column.kind is FieldType.TIME:
        yield from (time for value in values if (time := time_of(value, column.form)) is not None)


def time_of(text: str, form: str | None) -> int | None:
    """Return a cell's time in µs; None if it has none."""
    try:
        return from_text(_MOMENT, text, form)  # type: ignore[no-any-return]
    except InvalidEvent:
        return None
