"""Batches of a Parquet file's rows in bounded memory, even if a kilobyte of the file stands for gigabytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.files.parquet_chunks import Chunk
from headrace.files.parquet_footer import row_groups
from headrace.files.rows import broken

#: The most bytes that the values of a batch may have.
_BATCH_BYTES = 32 * 2**20
#: The most bytes that a row group's columns may hold at once, beside the values of a batch.
_HELD_BYTES = 512 * 2**20
#: How many bytes of a column are read at once, if a row group is larger.
_BUFFER = 2**20
_SMALLER = "smaller row groups: pandas.read_parquet(...).to_parquet(..., row_group_size=50_000) writes them"


class Batches:
    """The rows of a Parquet file, in batches.

    Parameters
    ----------
    path
        The file's name, for errors.

    Attributes
    ----------
    schema
        The file's columns.

    Raises
    ------
    InvalidRequest
        It is not Parquet.
    """

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self._row = 1
        try:
            plain = pq.ParquetFile(file)
            self._metadata: pq.FileMetaData = plain.metadata
            self.schema: pa.Schema = plain.schema_arrow
            self._texts = [field.name for field in self.schema if is_text(field.type)]
            self._categories = {field.name for field in self.schema if pa.types.is_dictionary(field.type)}
            self._prober = self._reader(self._texts)
            self._dictionaries, self._current = list[str](), self._reader([])
        except (pa.ArrowException, OSError, ValueError) as error:
            raise broken(path, 1, f"no Parquet ({error})", "a whole Parquet file") from None

    def read(self, columns: Sequence[str], rows: int, limit: int = 0) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield batches, each with the number of its first row, from 1.

        Parameters
        ----------
        rows
            The most rows of a batch.
        limit
            The most bytes of a text that the caller copies for each row that has it.

        Raises
        ------
        InvalidRequest
            The file is damaged, or a row group would take too much memory.
        """
        places = self._places(columns)
        try:
            for group, found in enumerate(row_groups(self._file, self._metadata.num_columns)):
                chunks = [Chunk(self._file, self._metadata.schema.column(place), found[place]) for place in places]
                self._choose(chunks, group, rows)
                size = _BATCH_BYTES // max(1, sum(chunk.row_bytes(limit) for chunk in chunks))
                reader = self._reader_with([chunk.path for chunk in chunks if chunk.as_dictionary])
                size = min(rows, max(1, size))
                for piece in reader.iter_batches(size, row_groups=[group], columns=list(columns), use_threads=False):
                    yield self._row, piece
                    self._row += len(piece)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise broken(self._path, self._row, f"not readable ({error})", "a whole Parquet file") from None

    def _places(self, columns: Sequence[str]) -> list[int]:
        """Return the places of the leaves of some columns."""
        paths = [self._metadata.schema.column(place).path for place in range(self._metadata.num_columns)]
        wanted = set(columns)
        return [place for place, path in enumerate(paths) if wanted & _names(path)]

    def _choose(self, chunks: list[Chunk], group: int, rows: int) -> None:
        """Choose the chunks that are read as dictionaries: those whose values could exceed a batch if repeated."""
        for chunk in chunks:
            chunk.as_dictionary = chunk.path in self._categories
        self._check(chunks)
        for chunk in chunks:
            if chunk.path not in self._texts or chunk.longest * rows <= _BATCH_BYTES:
                continue
            if chunk.begins_with_dictionary:
                chunk.longest = max(chunk.longest_plain, self._longest_entry(chunk, group))
            chunk.as_dictionary = chunk.only_dictionary and chunk.longest * rows > _BATCH_BYTES

    def _longest_entry(self, chunk: Chunk, group: int) -> int:
        """Return the bytes of a dictionary's longest text."""
        (cells,) = next(
            self._prober.iter_batches(1, row_groups=[group], columns=[chunk.path], use_threads=False)
        ).columns
        return pc.max(pc.binary_length(cells.dictionary)).as_py() or 0

    def _check(self, chunks: list[Chunk]) -> None:
        held = sum(chunk.held_bytes for chunk in chunks)
        if held > _HELD_BYTES:
            largest = max(chunks, key=lambda chunk: chunk.held_bytes)
            problem = (
                f"a row group that takes {held:,} bytes at once, {largest.held_bytes:,} of them for {largest.path}"
            )
            raise broken(self._path, self._row, problem, f"at most {_HELD_BYTES:,}, or {_SMALLER}")

    def _reader_with(self, dictionaries: list[str]) -> pq.ParquetFile:
        if dictionaries != self._dictionaries:
            self._dictionaries, self._current = dictionaries, self._reader(dictionaries)
        return self._current

    def _reader(self, dictionaries: list[str]) -> pq.ParquetFile:
        return pq.ParquetFile(
            self._file,
            metadata=self._metadata,
            read_dictionary=dictionaries,
            buffer_size=_BUFFER,
            coerce_int96_timestamp_unit="us",
            pre_buffer=False,
        )


def _names(path: str) -> set[str]:
    """Return the names that the column of a leaf may have: a name may itself contain dots."""
    parts = path.split(".")
    return {".".join(parts[:end]) for end in range(1, len(parts) + 1)}


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column of this type has texts of any length."""
    types: Any = pa.types
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)
    )
