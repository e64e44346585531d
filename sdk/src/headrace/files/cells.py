"""The cells of a file as text, to examine a file before any stream is declared for it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from headrace.files.delimited import read_header
from headrace.files.json_lines import read_json_lines
from headrace.files.lines import MAX_LINE, take, text_lines
from headrace.files.parquet import read_parquet
from headrace.files.parquet_cells import parquet_cells
from headrace.files.quoting import Records
from headrace.files.reading import open_file
from headrace.files.rows import broken

#: The column names, and the rows.
Cells = tuple[list[str], Iterator[list[str]]]

#: How many JSON objects are read for the names of their keys.
_OBJECTS = 1_000


@contextmanager
def cells_of(path: Path) -> Iterator[Cells]:
    """Open a file and yield the names of its columns and its rows; a missing value is an empty text.

    Malformed rows are left out.

    Raises
    ------
    InvalidRequest
        The file's format is unknown, or the file is truncated.
    OSError
        The file cannot be opened.
    """
    with ExitStack() as stack:
        file, reader = open_file(path, stack)
        if reader is read_parquet:
            yield parquet_cells(file, path)
        elif reader is read_json_lines:
            yield _json_cells(file, path)
        else:
            yield _csv_cells(file, path, stack)


def _csv_cells(file: IO[bytes], path: Path, stack: ExitStack) -> Cells:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
    stack.callback(text.detach)
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    records = Records(text_lines(text, MAX_LINE), MAX_LINE)
    header = read_header(records, path, [])
    texts = (record.text for record in records if not record.wrong)
    return header, (cells for cells in csv.reader(texts) if len(cells) == len(header))


def _json_cells(file: IO[bytes], path: Path) -> Cells:
    lines = text_lines(file, MAX_LINE)
    first = [record for record in map(_object, take(lines, _OBJECTS, len)) if record]
    names = list(dict.fromkeys(name for record in first for name in record))
    if not names:
        raise broken(path, 1, "no JSON object", "JSON Lines, an object a line")
    rest = (record for record in map(_object, lines) if record)
    return names, ([_text(record.get(name)) for name in names] for part in (first, rest) for record in part)


def _object(line: bytes) -> dict[str, object]:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value)
