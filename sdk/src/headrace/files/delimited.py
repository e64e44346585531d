"""CSV: a header line with the fields' names, then a row an event."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from headrace.definition import StreamDefinition
from headrace.errors import InvalidEvent
from headrace.files.encoding import encode_columns
from headrace.files.lines import text_lines
from headrace.files.rows import Fault, Rows, broken
from headrace.files.values import Column, text_column


def read_csv(file: IO[bytes], path: Path, stream: StreamDefinition, batch: int) -> Iterator[Rows]:
    """Read CSV; columns that the stream does not have are left out.

    Raises
    ------
    InvalidRequest
        The header lacks a field.
    """
    # A line that is no UTF-8 is a fault of that line alone.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        reader = csv.reader(text_lines(text))
        table = _Table(path, stream, _header(reader, path, stream))
        for numbered in _batches(reader, batch):
            yield table.rows(numbered)
    finally:
        text.detach()  # the file is its opener's to close


def _header(reader: Iterator[list[str]], path: Path, stream: StreamDefinition) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise broken(path, 1, f"no CSV ({error})", "a header with the names of the fields") from None
    missing = [field.name for field in stream.fields if not field.optional and field.name not in header]
    if missing:
        found = f"a header without {', '.join(missing)}"
        raise broken(path, 1, found, f"the columns {', '.join(field.name for field in stream.fields)}")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise broken(path, 1, f"a header with {', '.join(twice)} more than once", "each column once")
    return header


class _Reader(Protocol):
    line_num: int

    def __next__(self) -> list[str]: ...


#: The line where a row starts, and its cells, or why it has none.
_Numbered = tuple[int, list[str] | str]


def _batches(reader: _Reader, size: int) -> Iterator[list[_Numbered]]:
    rows: list[_Numbered] = []
    while True:
        line = reader.line_num + 1
        try:
            cells: list[str] | str = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            cells = str(error)
        if cells:  # empty lines are none
            rows.append((line, cells))
        if len(rows) == size:
            yield rows
            rows = []
    if rows:
        yield rows


class _Table:
    def __init__(self, path: Path, stream: StreamDefinition, header: list[str]) -> None:
        self._path = path
        self._stream = stream
        self._width = len(header)
        self._columns = [(field, header.index(field.name)) for field in stream.fields if field.name in header]

    def rows(self, numbered: list[_Numbered]) -> Rows:
        """Events of rows; those with the wrong number of cells keep their place."""
        good = [(line, cells) for line, cells in numbered if len(cells) == self._width and not isinstance(cells, str)]
        rows = self._events(good) if good else Rows()
        if len(good) == len(numbered):
            return rows
        merged = Rows(faults=rows.faults)
        events = iter(zip(rows.events, rows.times, strict=True))
        for line, cells in numbered:
            if len(cells) == self._width and not isinstance(cells, str):
                merged.add(*next(events), line)
            else:
                merged.add(_raw(cells), None, line)
                merged.faults.append(Fault(self._path, line, self._misfit(cells)))
        merged.faults.sort(key=lambda fault: fault.line)
        return merged

    def _events(self, numbered: list[tuple[int, list[str]]]) -> Rows:
        lines = [line for line, _ in numbered]
        cells = list(zip(*(cells for _, cells in numbered), strict=True))
        columns: dict[str, Column] = {field.name: text_column(field, cells[at]) for field, at in self._columns}
        return encode_columns(self._stream, columns, lines, self._path, lambda index: _raw(numbered[index][1]))

    def _misfit(self, cells: list[str] | str) -> InvalidEvent:
        if isinstance(cells, str):
            return InvalidEvent("", f"not decodable ({cells})", "a row of CSV")
        return InvalidEvent("", f"a row of {len(cells)} cells", f"{self._width} cells, as in the header")


def _raw(cells: list[str] | str) -> bytes:
    text = cells if isinstance(cells, str) else ",".join(cells)
    return text.encode("utf-8", "surrogateescape")
