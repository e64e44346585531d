"""The footer of a Parquet file: where the pages of each column chunk begin.

pyarrow can tell the same, but some damaged footers make it end the process: an exception of C++ that nothing catches.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from headrace.files.thrift import I64, Shape, read_list

#: The bytes after a footer: its length, and the mark of the format.
_TAIL, _MARK = 8, b"PAR1"
#: Fields of the footer, of a row group, of a column chunk and of its metadata.
_ROW_GROUPS, _COLUMNS, _METADATA = 4, 1, 3
_VALUES, _LENGTH, _DATA, _DICTIONARY = 5, 7, 9, 11
_CHUNK: Shape = {_METADATA: {_VALUES: I64, _LENGTH: I64, _DATA: I64, _DICTIONARY: I64}}


class ChunkPages(NamedTuple):
    """The pages of a column chunk: the offset of the first one, their bytes in the file, and their values."""

    start: int
    length: int
    values: int


def row_groups(file: IO[bytes], columns: int) -> Iterator[list[ChunkPages]]:
    """Yield the column chunks of each row group, in the order of the columns.

    Raises
    ------
    ValueError
        It is no footer, or not of as many columns.
    """
    file.seek(-_TAIL, io.SEEK_END)
    tail = file.read(_TAIL)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MARK:
        raise ValueError(f"a file that ends with {tail[4:]!r}")
    file.seek(-_TAIL - length, io.SEEK_END)
    footer = io.BytesIO(file.read(length))
    for group in read_list(footer, _ROW_GROUPS, {_COLUMNS: [_CHUNK]}):
        chunks = group.get(_COLUMNS, [])
        if len(chunks) != columns:
            raise ValueError(f"a row group of {len(chunks):,} columns instead of {columns:,}")
        yield [_pages(chunk.get(_METADATA, {})) for chunk in chunks]


def _pages(metadata: dict[int, Any]) -> ChunkPages:
    if not metadata.keys() >= {_VALUES, _LENGTH, _DATA}:
        raise ValueError("a column without its number of values, length or place")
    start, dictionary = metadata[_DATA], metadata.get(_DICTIONARY, 0)
    return ChunkPages(dictionary if 0 < dictionary < start else start, metadata[_LENGTH], metadata[_VALUES])
