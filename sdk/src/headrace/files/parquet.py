"""Parquet: one typed column per field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.definition import Field, FieldType, StreamDefinition
from headrace.engine.events.timestamps import MAX_TIME, MIN_TIME
from headrace.errors import InvalidEvent
from headrace.files.encoding import encode_columns
from headrace.files.names import column_places
from headrace.files.rows import Rows, broken
from headrace.files.values import Column, value_column
from headrace.wording import as_json, format_time

#: How many bytes of a column are read at once, if a row group is larger.
_BUFFER = 2**20
#: The most bytes that the values of one field may have in a batch of rows.
_BATCH_BYTES = 64 * 2**20
#: The unpacked size of a column chunk up to which its dictionary is kept, whatever it contains.
_DICTIONARY_BYTES = 2**20
#: Bytes of a text's length prefix, where each text is stored separately.
_LENGTH = 4
#: A compression ratio that no column of distinct texts reaches.
_RATIO = 50
#: How many of each timestamp unit make a second.
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def read_parquet(file: IO[bytes], path: Path, stream: StreamDefinition, batch: int) -> Iterator[Rows]:
    """Read Parquet in pieces of a row group; the line of a fault is its row number.

    Raises
    ------
    InvalidRequest
        The file is not Parquet, or lacks a column for a field.
    """
    table = _open(file, path)
    places = column_places([field.name for field in stream.given], table.schema_arrow.names)
    _check(stream, places, path)
    names = {name: table.schema_arrow.names[indices[0]] for name, indices in places.items()}
    fields = [field for field in stream.given if field.name in names]
    # A value of any length is kept only up to a bound, so a batch of them is bounded as well.
    size = min(batch, max(1, _BATCH_BYTES // stream.max_bytes))
    row = 1
    try:
        for piece in table.iter_batches(size, columns=list(names.values()), use_threads=False):
            columns = {field.name: _column(stream, field, piece.column(names[field.name])) for field in fields}
            lines = range(row, row + len(piece))
            yield encode_columns(stream, columns, lines, path, raw=partial(_raw, piece))
            row += len(piece)
    except (pa.ArrowException, OSError) as error:
        raise broken(path, row, f"not readable ({error})", "a whole Parquet file") from None


def parquet_cells(file: IO[bytes], path: Path) -> tuple[list[str], Iterator[list[str]]]:
    """Return the names of a table's columns, and its rows as text: a missing value is empty."""
    table = _open(file, path)
    return table.schema_arrow.names, _rows_of(table)


def _rows_of(table: pq.ParquetFile) -> Iterator[list[str]]:
    for piece in table.iter_batches(1_000, use_threads=False):
        columns = [_cell_texts(column) for column in piece.columns]
        yield from (list(cells) for cells in zip(*columns, strict=True))


def _cell_texts(cells: pa.Array) -> list[str]:
    if isinstance(cells, pa.DictionaryArray):
        cells = cells.dictionary_decode()
    if pa.types.is_timestamp(cells.type):
        micros = [
            None if count is None else _micros(count, cells.type.unit) for count in cells.cast("int64").to_pylist()
        ]
        return ["" if time is None else format_time(time) if isinstance(time, int) else str(time) for time in micros]
    return ["" if cell is None else str(cell) for cell in cells.to_pylist()]


def _open(file: IO[bytes], path: Path) -> pq.ParquetFile:
    try:
        plain = pq.ParquetFile(file)
        # Repeated text stays a dictionary: one kilobyte of a page may repeat a long text a million times.
        texts = [field.name for field in plain.schema_arrow if _is_text(field.type)]
        texts = [name for name in texts if _repeats(plain.metadata, name)]
        return pq.ParquetFile(
            file, read_dictionary=texts, buffer_size=_BUFFER, coerce_int96_timestamp_unit="us", pre_buffer=False
        )
    except (pa.ArrowException, OSError) as error:
        raise broken(path, 1, f"no Parquet ({error})", "a whole Parquet file") from None


def _repeats(metadata: pq.FileMetaData, name: str) -> bool:
    """Return whether a column repeats few texts, or is compressed so well that it may; its dictionary is then small."""
    places = [place for place in range(metadata.num_columns) if metadata.schema.column(place).path == name]
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(place) for group in groups for place in places]
    return all(
        chunk.total_uncompressed_size <= max(_DICTIONARY_BYTES, _LENGTH * chunk.num_values)
        or chunk.total_uncompressed_size > _RATIO * chunk.total_compressed_size
        for chunk in chunks
    )


def _check(stream: StreamDefinition, places: Mapping[str, Sequence[int]], path: Path) -> None:
    missing = [field.name for field in stream.given if not field.optional and field.name not in places]
    if missing:
        expected = f"the columns {', '.join(field.name for field in stream.given)}"
        raise broken(path, 1, f"a table without {', '.join(missing)}", expected)
    duplicates = [name for name, indices in places.items() if len(indices) > 1]
    if duplicates:
        raise broken(path, 1, f"a table with {', '.join(duplicates)} more than once", "each of them once")


def _is_text(kind: pa.DataType) -> bool:
    types: Any = pa.types
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)
    )


def _column(stream: StreamDefinition, field: Field, cells: pa.Array) -> Column:
    """Read a field's values from cells of any type; refuse unsuitable types by name, row by row."""
    kind, types = cells.type, pa.types
    if isinstance(cells, pa.ExtensionArray):
        return _column(stream, field, cells.storage)
    if types.is_dictionary(kind):
        return _dictionary_column(stream, field, cells)
    if types.is_timestamp(kind) or types.is_date(kind):
        return _moments(field, cells) if field.type is FieldType.TIME else _refuse(field, cells)
    if types.is_floating(kind) or types.is_integer(kind):
        return _numbers(field, cells, stream.time_format)
    if _is_text(kind) or types.is_fixed_size_binary(kind):
        return _texts(field, cells, stream)
    if types.is_decimal(kind) or types.is_boolean(kind) or types.is_null(kind):
        return value_column(field, cells.to_pylist(), stream.time_format)
    return _refuse(field, cells)


def _dictionary_column(stream: StreamDefinition, field: Field, cells: pa.DictionaryArray) -> Column:
    """Read a dictionary column: only the texts that these rows use are read."""
    codes = pc.unique(cells.indices.drop_null())
    indices = pc.index_in(cells.indices, codes).to_pylist()
    return _spread(_column(stream, field, cells.dictionary.take(codes)), indices, field, stream.time_format)


def _spread(distinct: Column, indices: Sequence[int | None], field: Field, unit: str | None) -> Column:
    """Expand a column from its distinct values: each was read once, and its rows share it."""
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
    values = cells.to_pylist()
    if field.type is FieldType.STRING and not cells.null_count:
        return values, {}
    return value_column(field, values, stream.time_format)


def _text(cell: pa.Scalar, limit: int) -> str | list[str] | None:
    """Return a cell's text; if it has none or too much, return a list, which is not a value of any field."""
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
    numbers = cells.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return (numbers.tolist(), {}) if np.isfinite(numbers).all() else value_column(field, cells.to_pylist())


def _moments(field: Field, cells: pa.Array) -> Column:
    """Convert timestamps (UTC if without a zone) and dates to µs; finer units are truncated."""
    if pa.types.is_date(cells.type):
        cells = cells.cast(pa.timestamp("s") if pa.types.is_date32(cells.type) else pa.timestamp("ms"))
    unit = cells.type.unit
    return value_column(field, [_micros(count, unit) for count in cells.cast(pa.int64()).to_pylist()], "us")


def _micros(count: int | None, unit: str) -> int | list[str] | None:
    """Convert a timestamp to µs; if it is not in the years 1 to 9999, return a list, which is not a time."""
    time = None if count is None else count * 1_000_000 // _PER_SECOND[unit]
    return time if time is None or MIN_TIME <= time <= MAX_TIME else [f"{count} {unit} since 1970"]


def _refuse(field: Field, cells: pa.Array) -> Column:
    """Refuse cells of a type that no field has: each is a fault, and a list, so that it cannot pass for a value."""
    return value_column(field, [[f"a {cells.type}"] if valid else None for valid in cells.is_valid().to_pylist()])


def _raw(piece: pa.RecordBatch, index: int) -> bytes:
    row = {name: as_json(str(piece.column(name)[index])) for name in piece.schema.names}
    return repr(row).encode("utf-8", "backslashreplace")
