"""CSV: a header line with the fields' names, then one row per event."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO

from headrace.definition import Field, FieldType, StreamDefinition
from headrace.errors import InvalidEvent
from headrace.files.encoding import encode_columns
from headrace.files.lines import MAX_LINE, take, text_lines
from headrace.files.names import column_places
from headrace.files.quoting import TOO_LONG, Record, Records, quoted_part
from headrace.files.rows import Fault, Rows, broken
from headrace.files.values import Column, from_text, text_column
from headrace.wording import cut, printable

_OTHERS = {";": "semicolons", "\t": "tabs", "|": "bars"}
#: A number with a decimal comma, and how many records are examined for one.
_DECIMAL_COMMA, _EXAMINED = re.compile(r'"?[+-]?\d+,\d+"?'), 100
#: How many lines within a stray quote its fault names.
_NAMED = 10
#: How many characters of a wrong header are shown.
_SHOWN = 200


def read_csv(file: IO[bytes], path: Path, stream: StreamDefinition, batch: int) -> Iterator[Rows]:
    """Read CSV; ignore columns that the stream does not have.

    Raises
    ------
    InvalidRequest
        The header lacks a field.
    """
    # A line that is not UTF-8 is a fault of that line only.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    limit = max(MAX_LINE, 2 * stream.max_bytes)
    csv.field_size_limit(max(csv.field_size_limit(), limit))
    try:
        records = Records(text_lines(text, limit), limit)
        table = _Table(path, stream, read_header(records, path, [field.name for field in stream.given]))
        table.check()
        records.doubt = table.doubt
        while part := take(records, batch, _length):
            if rows := table.rows(part):
                yield rows
    finally:
        text.detach()  # the caller that opened the file closes it


def read_header(records: Records, path: Path, expected: Sequence[str]) -> list[str]:
    """Return the names of a file's columns; `expected` holds names that it should have.

    Raises
    ------
    InvalidRequest
        Its first line is not a header, or has separators other than commas.
    """
    first = next(records, None)
    if first is None:
        raise broken(path, 1, "the end of an empty file", "a header with the names of the fields")
    if first.wrong:
        raise broken(path, 1, first.wrong, "a header with the names of the fields")
    header = next(csv.reader([first.text], strict=True), [])
    for separator, name in _OTHERS.items():
        others = next(csv.reader([first.text], delimiter=separator), [])
        if len(others) > len(header) and not set(expected) & set(header):
            options = f"sep={separator!r}" + (", decimal=','" if _has_decimal_commas(records, separator) else "")
            cure = f"commas: pandas.read_csv(..., {options}).to_csv(..., index=False) writes them"
            raise broken(path, 1, f"a header with {name} between its cells", cure)
    return header


def _has_decimal_commas(records: Records, separator: str) -> bool:
    """Return whether one of the next records has a cell such as 10,8."""
    cells = (cell for record in islice(records, _EXAMINED) for cell in record.text.strip().split(separator))
    return any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells)


class _Table:
    def __init__(self, path: Path, stream: StreamDefinition, header: list[str]) -> None:
        self._path = path
        self._stream = stream
        self._header = header
        self._width = len(header)
        self._places = column_places([field.name for field in stream.given], header)
        self._columns = [(field, self._places[field.name][0]) for field in stream.given if field.name in self._places]

    def check(self) -> None:
        """Refuse a header that lacks a field, or has one twice; other columns may have any names."""
        fields = self._stream.given
        missing = [field.name for field in fields if not field.optional and field.name not in self._places]
        if missing:
            problem = f"a header without {', '.join(missing)} (it is {printable(cut(', '.join(self._header), _SHOWN))})"
            raise broken(self._path, 1, problem, f"the columns {', '.join(field.name for field in fields)}")
        duplicates = [name for name, places in self._places.items() if len(places) > 1]
        if duplicates:
            raise broken(self._path, 1, f"a header with {', '.join(duplicates)} more than once", "each of them once")

    def doubt(self, line: int, record: str, following: Sequence[str]) -> str:
        """Return what is wrong with a record of several lines; empty if nothing is."""
        cells = _cells(record)
        if isinstance(cells, str) or len(cells) != self._width or self._is_torn(cells):
            return f"a quote that opens a cell, closed on line {line + len(following)} in the middle of a row"
        rows = [str(place) for place, text in enumerate(following[:-1], line + 1) if self._is_event(text)]
        first, last = record[: len(record) - sum(map(len, following))], following[-1]
        if self._is_row(last, first) or (
            not rows and not self._converts(cells, self._columns) and self._begins_event(last)
        ):
            rows.append(str(line + len(following)))
        if not rows:
            return ""
        places = ", ".join(rows[:_NAMED]) + (", …" if len(rows) > _NAMED else "")
        return f"a quote that opens a cell with whole rows in it, those of line {places}"

    def _is_torn(self, cells: list[str]) -> bool:
        """Return whether a number or a time contains a line break."""
        plain = [cells[at] for field, at in self._columns if field.type is not FieldType.STRING]
        return any("\n" in cell or "\r" in cell for cell in plain)

    def _is_row(self, last: str, first: str) -> bool:
        """Return whether a record's last line is a row itself, and not the rest of the row that begins with `first`.

        The rest of a row may look like a row if it begins with text. A real row has its own time inside the quoted
        cell: the time of this line, or of the line where the cell begins.
        """
        inside = quoted_part(last).count(",") > self._places[self._stream.time][0]
        return self._is_event(last) and (inside or self._is_event(first.replace('"', "")))

    def _is_event(self, line: str) -> bool:
        """Return whether a line by itself is an event of the stream."""
        cells = _cells(line, strict=False)
        return not isinstance(cells, str) and len(cells) == self._width and self._converts(cells, self._columns)

    def _begins_event(self, line: str) -> bool:
        """Return whether the part of a line that belongs to the cell above has a time where a row has it."""
        cells, at = quoted_part(line).split(","), self._places[self._stream.time][0]
        return len(cells) > at + 1 and self._converts(cells, [column for column in self._columns if column[1] == at])

    def _converts(self, cells: Sequence[str], columns: Sequence[tuple[Field, int]]) -> bool:
        """Return whether the cells of some columns are values of their fields."""
        try:
            for field, at in columns:
                from_text(field, "" if cells[at] in self._stream.missing else cells[at], self._stream.time_format)
        except InvalidEvent:
            return False
        return True

    def rows(self, records: Sequence[Record]) -> Rows:
        """Return the events of records; records that are not events keep their place."""
        parsed = [(record, record.wrong or _cells(record.text)) for record in records]
        parsed = [(record, cells) for record, cells in parsed if cells]  # skip empty lines
        good = [(record, cells) for record, cells in parsed if not isinstance(cells, str) and self._fits(cells)]
        rows = self._events(good) if good else Rows()
        if len(good) == len(parsed):
            return rows
        merged = Rows(faults=rows.faults)
        events = iter(zip(rows.events, rows.times, strict=True))
        for record, cells in parsed:
            if not isinstance(cells, str) and self._fits(cells):
                merged.add(*next(events), record.line)
            else:
                merged.add(_raw(record), None, record.line)
                merged.faults.append(Fault(self._path, record.line, self._misfit(cells)))
        merged.faults.sort(key=lambda fault: fault.line)
        return merged

    def _fits(self, cells: list[str]) -> bool:
        return len(cells) == self._width

    def _events(self, rows: Sequence[tuple[Record, list[str]]]) -> Rows:
        lines = [record.line for record, _ in rows]
        cells = list(zip(*(cells for _, cells in rows), strict=True))
        columns = {field.name: self._column(field, cells[at]) for field, at in self._columns}
        return encode_columns(self._stream, columns, lines, self._path, raw=lambda index: _raw(rows[index][0]))

    def _column(self, field: Field, cells: Sequence[str]) -> Column:
        missing = self._stream.missing
        if missing:
            cells = ["" if cell in missing else cell for cell in cells]
        return text_column(field, cells, self._stream.time_format)

    def _misfit(self, cells: list[str] | str) -> InvalidEvent:
        if isinstance(cells, str):
            if cells.startswith(TOO_LONG):
                return InvalidEvent("", cells, "a shorter one")
            return InvalidEvent(
                "", f"not decodable ({cells})", "a row of CSV, with each quote of a quoted cell doubled"
            )
        return InvalidEvent("", f"a row of {len(cells)} cells", f"{self._width} cells, as in the header")


def _cells(text: str, *, strict: bool = True) -> list[str] | str:
    """Return the cells of a record, or why it has none."""
    try:
        return next(csv.reader([text], strict=strict), [])
    except csv.Error as error:
        return str(error)


def _length(record: Record) -> int:
    return len(record.text)


def _raw(record: Record) -> bytes:
    return record.text.rstrip("\r\n").encode("utf-8", "surrogateescape")
