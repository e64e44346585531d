"""The cells of a Parquet file as text, to examine it before any stream is declared for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

from headrace.files.parquet import micros_of
from headrace.files.parquet_batches import Batches, is_text
from headrace.wording import format_time

#: The most rows that are read at once.
_ROWS = 1_000


def parquet_cells(file: IO[bytes], path: Path) -> tuple[list[str], Iterator[list[str]]]:
    """Return the names of a table's columns, and its rows as text: a missing value is empty.

    Columns that no field can hold are left out: lists, structs, times of day.
    """
    batches = Batches(file, path)
    names = [column.name for column in batches.schema if _is_readable(column.type)]
    return names, _rows(batches, names)


def _rows(batches: Batches, names: list[str]) -> Iterator[list[str]]:
    for _, piece in batches.read(names, _ROWS):
        columns = [_texts(column) for column in piece.columns]
        yield from (list(cells) for cells in zip(*columns, strict=True))


def _is_readable(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _is_readable(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _is_readable(kind.value_type)
    return not (pa.types.is_nested(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind))


def _texts(cells: pa.Array) -> list[str]:
    kind, types = cells.type, pa.types
    if isinstance(cells, pa.ExtensionArray):
        return _texts(cells.storage)
    if types.is_dictionary(kind):
        texts = _texts(cells.dictionary)
        return ["" if index is None else texts[index] for index in cells.indices.to_pylist()]
    if types.is_timestamp(kind) or types.is_date(kind):
        return [_time_text(time, short=types.is_date(kind)) for time in micros_of(cells)]
    if is_text(kind) or types.is_string_view(kind) or types.is_binary_view(kind) or types.is_fixed_size_binary(kind):
        values = cells.cast(pa.large_binary()).to_pylist()
        return ["" if value is None else value.decode("utf-8", "replace") for value in values]
    return ["" if cell is None else str(cell) for cell in cells.to_pylist()]


def _time_text(time: int | list[str] | None, *, short: bool) -> str:
    if not isinstance(time, int):
        return "" if time is None else str(time)
    text = format_time(time)
    return text.partition("T")[0] if short else text
