"""Parquet: a column a field, typed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.definition import Field, FieldType, StreamDefinition
from headrace.files.encoding import encode_columns
from headrace.files.rows import Rows, broken
from headrace.files.values import Column, value_column


def read_parquet(file: IO[bytes], path: Path, stream: StreamDefinition, batch: int) -> Iterator[Rows]:
    """Read Parquet, a piece of a row group at a time; a fault's line is the number of its row.

    Raises
    ------
    InvalidRequest
        It is no Parquet, or lacks a field's column.
    """
    try:
        table = pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise broken(path, 1, f"no Parquet ({error})", "a whole Parquet file") from None
    names = set(table.schema_arrow.names)
    missing = [field.name for field in stream.fields if not field.optional and field.name not in names]
    if missing:
        expected = f"the columns {', '.join(field.name for field in stream.fields)}"
        raise broken(path, 1, f"a table without {', '.join(missing)}", expected)
    fields = [field for field in stream.fields if field.name in names]
    row = 1
    try:
        for piece in table.iter_batches(batch, columns=[field.name for field in fields], use_threads=False):
            columns = {field.name: _column(field, piece.column(field.name)) for field in fields}
            lines = range(row, row + len(piece))
            yield encode_columns(stream, columns, lines, path, partial(_raw, piece))
            row += len(piece)
    except (pa.ArrowInvalid, OSError) as error:
        raise broken(path, row, f"not readable ({error})", "a whole Parquet file") from None


def _column(field: Field, cells: pa.Array) -> Column:
    if isinstance(cells, pa.DictionaryArray):
        cells = cells.dictionary_decode()
    kind = cells.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        # Without a zone it is UTC. What is finer than a microsecond is cut off.
        cells = cells.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        return value_column(field, cells.to_pylist()) if field.type is FieldType.TIME else _misplaced(field, cells)
    if pa.types.is_decimal(kind) and field.type is FieldType.FLOAT:
        cells = cells.cast(pa.float64())
    if field.type is FieldType.FLOAT and (pa.types.is_floating(cells.type) or pa.types.is_integer(cells.type)):
        return _floats(field, cells)
    if field.type is FieldType.STRING and not cells.null_count and pa.types.is_string(kind):
        return cells.to_pylist(), {}
    return value_column(field, cells.to_pylist())


def _floats(field: Field, cells: pa.Array) -> Column:
    numbers = cells.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return (numbers.tolist(), {}) if np.isfinite(numbers).all() else value_column(field, cells.to_pylist())


def _misplaced(field: Field, cells: pa.Array) -> Column:
    """A time in the column of a field that is none: every cell is a fault."""
    return value_column(field, [[cell] if cell is not None else None for cell in cells.to_pylist()])


def _raw(piece: pa.RecordBatch, index: int) -> bytes:
    row: dict[str, Any] = {name: piece.column(name)[index].as_py() for name in piece.schema.names}
    return repr(row).encode("utf-8", "backslashreplace")
