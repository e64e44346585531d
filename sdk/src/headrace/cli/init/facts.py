"""Facts about a table's columns, as far as its rows show them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from headrace.definition import Field, FieldType
from headrace.errors import InvalidEvent
from headrace.files import cells_of, field_name
from headrace.files.lines import take
from headrace.files.values import from_text
from headrace.wording import quoted

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
    for day in (
        *("%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%b %d %Y", "%d %b %Y", "%Y%m%d", "%d-%b-%y", "%d-%b-%Y"),
        *("%b %d, %Y", "%B %d, %Y", "%d %B %Y", "%m/%d/%y", "%d/%m/%y", "%d-%m-%Y", "%m-%d-%Y"),
    )
    for clock in ("", " %H:%M:%S", " %H:%M", " %I:%M %p", " %I:%M:%S %p")
)
#: The share of a column's values that are called odd, at most, and of the first values that must be alike.
_ODD, _ALIKE = 0.01, 0.9
#: How many distinct values are compared with a pattern before all are.
_FIRST = 20
_INDEX = re.compile(r"\s*|Unnamed: ?0")
#: Texts that contain a date, as a person sees it.
_LIKE_DATE = re.compile(r"\d{1,4}[-/. ](\d{1,2}|[A-Za-z]{3,9})[-/. ,]+\d{2,4}|[A-Za-z]{3,9} \d{1,2},? \d{4}")
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
    odd
        The few values that keep a column of texts from being one of numbers or times, in words; "" if there are none.
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
    odd: str = ""

    @property
    def resembles_time(self) -> bool:
        """Whether a column of texts looks like one of times."""
        return self.kind is FieldType.STRING and bool(_LIKE_DATE.match(self.example))

    def time(self, cells: Sequence[str]) -> int | None:
        """Return the time (µs) of a row in this column."""
        return time_of(cells[self.place], self.form)


@dataclass
class Table:
    """A file, as it was examined.

    Attributes
    ----------
    left_out
        Which columns are left out, in words.
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
    left_out: list[str]
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
    indexes = {place for place, name in enumerate(names) if _INDEX.fullmatch(name) and _numbers_rows(sample, place)}
    fields = ["" if place in indexes else field_name(name) for place, name in enumerate(names)]
    duplicates = {name for name in fields if fields.count(name) > 1}
    columns = [
        _column(name, place, [cells[place] for cells in sample])
        for place, name in enumerate(fields)
        if name and name not in duplicates
    ]
    for column in columns:
        column.odd = _odd(column, path, sample)
    used = {column.place for column in columns}
    left_out = [_left_out(place, name, place in indexes) for place, name in enumerate(names) if place not in used]
    repeated = len(sample) - len({tuple(cells) for cells in sample})
    return Table(path, names, columns, left_out, sample, count, repeated)


def _numbers_rows(sample: Sequence[Sequence[str]], place: int) -> bool:
    """Return whether a column numbers the rows, from 0 or 1."""
    first = int(len(sample) > 1 and sample[0][place] == "1")
    return len(sample) > 1 and all(cells[place] == str(number) for number, cells in enumerate(sample, first))


def _left_out(place: int, name: str, is_index: bool) -> str:
    """Say that a column is left out, as a reader of the file recognizes it, and why."""
    reason = "it only numbers the rows" if is_index else "a field needs a name of its own"
    if name.strip():
        return f"{name.strip()!r} is left out: {reason}"
    column = f"column {place + 1}" if place else "the first column"
    return f"{column} has no name in the header, and is left out: {reason}"


def _column(name: str, place: int, cells: list[str]) -> Column:
    column = Column(name, place, rows=len(cells))
    present = [cell for cell in cells if cell and cell not in _PLACEHOLDERS]
    column.placeholders = {cell for cell in set(cells) if cell in _PLACEHOLDERS}
    column.missing = len(cells) - len(present)
    counts = Counter(present)
    column.unique = len(counts) == len(present) > 0
    column.distinct, column.values = len(counts), counts if len(counts) <= _KEPT else {}
    column.example = present[-1] if present else ""
    column.kind, column.form = _kind(name, list(counts))
    numbers = list(_numbers(column, counts))
    column.low, column.high = min(numbers, default=column.low), max(numbers, default=column.high)
    return column


def _odd(column: Column, path: Path, sample: Sequence[Sequence[str]]) -> str:
    """Say which few values keep a column of texts from being one of numbers or of times; "" if there are none."""
    if column.kind is not FieldType.STRING:
        return ""
    cells = [row[column.place] for row in sample]
    counts = Counter(cell for cell in cells if cell and cell not in column.placeholders)
    for noun, is_usual in _USUAL_VALUES:
        odd = _odd_values(counts, is_usual)
        if odd:
            rows, first = sum(counts[value] for value in odd), cells.index(odd[0])
            are = "is" if rows == 1 else "are"
            where = f"{quoted(odd[0])} in line {_line(path, sample, first)}"
            return f"{rows:,} of {counts.total():,} values of {column.name!r} {are} no {noun}: {where}"
    return ""


def _odd_values(counts: Counter[str], is_usual: Callable[[str], bool]) -> list[str]:
    """Return the values that are not as usual, if they are few."""
    first = list(counts)[:_FIRST]
    if sum(counts[value] for value in first if is_usual(value)) < _ALIKE * sum(counts[value] for value in first):
        return []
    odd = [value for value in counts if not is_usual(value)]
    return odd if sum(counts[value] for value in odd) <= _ODD * counts.total() else []


def _line(path: Path, sample: Sequence[Sequence[str]], row: int) -> int:
    """Return the line of a row in its file: a quoted cell may have several lines."""
    header = 1 if ".csv" in (suffix.lower() for suffix in path.suffixes) else 0
    breaks = sum(cell.count("\n") for cells in sample[:row] for cell in cells) if header else 0
    return header + row + breaks + 1


def _kind(name: str, values: list[str]) -> tuple[FieldType, str | None]:
    """Return the type of a column's values, and, for times, how they are written."""
    if not values:
        return FieldType.STRING, None
    if all(value.lower() in ("true", "false") for value in values):
        return FieldType.BOOL, None
    if all(map(_is_number, values)):
        return _kind_of_numbers(name, values)
    for form in (None, *_PATTERNS):
        if all(time_of(value, form) is not None for value in values):
            return FieldType.TIME, form
    return FieldType.STRING, None


def _is_number(value: str) -> bool:
    return bool(_NUMBER.fullmatch(value) and value.strip("+-.eE"))


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


def _is_time(form: str | None, text: str) -> bool:
    return time_of(text, form) is not None


#: What the values of a column usually are, and whether a value is that.
_USUAL_VALUES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("number", _is_number),
    *(("time", partial(_is_time, form)) for form in (None, *_PATTERNS)),
)
