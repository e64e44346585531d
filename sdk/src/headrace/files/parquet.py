"""Parquet: one typed column per field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.definition import Field, FieldType, StreamDefinition
from headrace.engine.events.timestamps import MAX_TIME, MIN_TIME
from headrace.errors import InvalidEvent
from headrace.files.encoding import encode_columns
from headrace.files.names import column_places
from headrace.files.parquet_batches import Batches, is_text
from headrace.files.rows import Rows, broken
from headrace.files.values import Column, value_column
from headrace.wording import as_json

#: How many of each timestamp unit make a second.
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def read_parquet(file: IO[bytes], path: Path, stream: StreamDefinition, batch: int) -> Iterator[Rows]:
    """Read Parquet in pieces of a row group; the line of a fault is its row number.

    Raises
    ------
    InvalidRequest
        The file is not Parquet, or lacks a column for a field, or would take too much memory.
    """
    batches = Batches(file, path)
    places = column_places([field.name for field in stream.given], batches.schema.names)
    _check(stream, places, path)
    names = {name: batches.schema.names[indices[0]] for name, indices in places.items()}
    fields = [field for field in stream.given if field.name in names]
    for row, piece in batches.read(list(names.values()), batch, stream.max_bytes):
        columns = {field.name: _column(stream, field, piece.column(names[field.name])) for field in fields}
        lines = range(row, row + len(piece))
        yield encode_columns(stream, columns, lines, path, raw=partial(_raw, piece))


def _check(stream: StreamDefinition, places: Mapping[str, Sequence[int]], path: Path) -> None:
    missing = [field.name for field in stream.given if not field.optional and field.name not in places]
    if missing:
        expected = f"the columns {', '.join(field.name for field in stream.given)}"
        raise broken(path, 1, f"a table without {', '.join(missing)}", expected)
    duplicates = [name for name, indices in places.items() if len(indices) > 1]
    if duplicates:
        raise broken(path, 1, f"a table with {', '.join(duplicates)} more than once", "each of them once")


def _column(stream: StreamDefinition, field: Field, cells: pa.Array) -> Column:
    """Read a field's values from cells of any Arrow type; cells of an unsuitable type are faults that name it."""
    kind, types = cells.type, pa.types
    if isinstance(cells, pa.ExtensionArray):
        return _column(stream, field, cells.storage)
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return _column(stream, field, cells.cast(pa.large_binary()))
    if types.is_dictionary(kind):
        return _dictionary_column(stream, field, cells)
    if types.is_timestamp(kind) or types.is_date(kind):
        return _timestamps(field, cells) if field.type is FieldType.TIME else _refuse(field, cells)
    if types.is_floating(kind) or types.is_integer(kind):
        return _numbers(field, cells, stream.time_format)
    if is_text(kind) or types.is_fixed_size_binary(kind):
        return _texts(field, cells, stream)
    if types.is_decimal(kind) or types.is_boolean(kind) or types.is_null(kind):
        return value_column(field, cells.to_pylist(), stream.time_format)
    return _refuse(field, cells)


def _dictionary_column(stream: StreamDefinition, field: Field, cells: pa.DictionaryArray) -> Column:
    """Read a dictionary column; only the entries that these rows use are read."""
    codes = pc.unique(cells.indices.drop_null())
    indices = pc.index_in(cells.indices, codes).to_pylist()
    return _spread(_column(stream, field, cells.dictionary.take(codes)), indices, field, stream.time_format)


def _spread(distinct: Column, indices: Sequence[int | None], field: Field, unit: str | None) -> Column:
    """Expand distinct values, each read once, to the rows that refer to them."""
    values, errors = distinct
    absent, missing = value_column(field, [None], unit)
    spread: list[Any] = []
    faults: dict[int, InvalidEvent] = {}
    for row, index in enumerate(indices):
        spread.append(absent[0] if index is None else values[index])
        error = missing.get(0) if index is None else errors.get(index)
        if error is not None:
            faults[row] = error
    return spread, faults


def _texts(field: Field, cells: pa.Array, stream: StreamDefinition) -> Column:
    """Read text from strings or bytes; bytes count as text, even if undeclared, provided that they are UTF-8."""
    longest = pc.max(pc.binary_length(cells)).as_py() or 0
    if longest > stream.max_bytes or not (pa.types.is_string(cells.type) or pa.types.is_large_string(cells.type)):
        return value_column(field, [_text(cell, stream.max_bytes) for cell in cells], stream.time_format)
    try:
        values = cells.to_pylist()
    except UnicodeDecodeError:
        return value_column(field, [_text(cell, stream.max_bytes) for cell in cells], stream.time_format)
    if field.type is FieldType.STRING and not cells.null_count:
        return values, {}
    return value_column(field, values, stream.time_format)


def _text(cell: pa.Scalar, limit: int) -> str | list[str] | None:
    """Return a cell's text; if it is not text or too long, return a list, which is not valid for any field."""
    if not cell.is_valid:
        return None
    data = cell.as_buffer()
    if data.size > limit:
        return [f"{data.size:,} bytes, more than an event may have ({limit:,})"]
    try:
        return str(data.to_pybytes(), "utf-8")
    except UnicodeDecodeError:
        return [f"bytes that are no UTF-8: {data.to_pybytes().hex()}"]


def _numbers(field: Field, cells: pa.Array, unit: str | None) -> Column:
    if field.type is not FieldType.FLOAT:
        return value_column(field, cells.to_pylist(), unit)
    # An integer beyond 2^53 becomes the nearest float, as it does when read from CSV.
    numbers = cells.cast(pa.float64(), safe=False)
    # Not `to_numpy`, which would import pandas.
    is_plain = not numbers.null_count and np.isfinite(np.from_dlpack(numbers)).all()
    return (numbers.to_pylist(), {}) if is_plain else value_column(field, cells.to_pylist())


def _timestamps(field: Field, cells: pa.Array) -> Column:
    return value_column(field, micros_of(cells), "us")


def micros_of(cells: pa.Array) -> list[int | list[str] | None]:
    """Convert timestamps (UTC if without a zone) and dates to µs; finer units are truncated."""
    if pa.types.is_date(cells.type):
        cells = cells.cast(pa.timestamp("s") if pa.types.is_date32(cells.type) else pa.timestamp("ms"))
    return [_micros(count, cells.type.unit) for count in cells.cast(pa.int64()).to_pylist()]


def _micros(count: int | None, unit: str) -> int | list[str] | None:
    """Convert a timestamp to µs; if it is not in the years 1 to 9999, return a list, which is not a time."""
    time = None if count is None else count * 1_000_000 // _PER_SECOND[unit]
    return time if time is None or MIN_TIME <= time <= MAX_TIME else [f"{count} {unit} since 1970"]


def _refuse(field: Field, cells: pa.Array) -> Column:
    """Make each cell of an unsuitable type a fault; as a list, it cannot be taken for a valid value."""
    return value_column(field, [[f"a {cells.type}"] if valid else None for valid in cells.is_valid().to_pylist()])


def _raw(piece: pa.RecordBatch, index: int) -> bytes:
    row = {name: as_json(str(piece.column(name)[index])) for name in piece.schema.names}
    return repr(row).encode("utf-8", "backslashreplace")
