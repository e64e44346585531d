"""What a column chunk of Parquet costs to read, by the headers of its pages."""

from __future__ import annotations

from typing import IO

import pyarrow.parquet as pq

from headrace.files.parquet_footer import ChunkPages
from headrace.files.parquet_pages import Page, pages

#: Encodings of pages that refer to a dictionary; the one that shortens a text by the beginning of the text before.
_OF_DICTIONARY = frozenset({2, 8})
_BY_PREFIX = 7
#: Encodings of which all lengths of a page are unpacked at once, and the bytes of these lengths for a value.
_WITH_LENGTHS = frozenset({6, 7})
_LENGTHS = 16
#: Copies of a text while it is read: of its page or dictionary, of the entries, in an array, and in a hash table.
_COPIES = 4
#: Bytes of a value that is no text, as a Python object.
_OBJECT = 32


class Chunk:
    """A column of a row group.

    Attributes
    ----------
    longest
        The bytes that its longest value may have.
    longest_plain
        The same, of the values that refer to no dictionary.
    only_dictionary, begins_with_dictionary
        Whether all its pages refer to a dictionary; whether the first one does.
    as_dictionary
        Whether it is read as a dictionary: each text once, and a number a row.

    Raises
    ------
    ValueError
        Its pages have no valid headers.
    """

    def __init__(self, file: IO[bytes], column: pq.ColumnSchema, found: ChunkPages) -> None:
        self.path: str = column.path
        self.as_dictionary = False
        self.only_dictionary = True
        self.begins_with_dictionary = False
        self.longest_plain = 0
        self._repeated_values = found.values if column.max_repetition_level else 0
        self._dictionary = self._largest_page = self._plain = self._data_pages = 0
        for page in pages(file, found.start, found.length, found.values):
            self._add(page)
        self.longest = max(self.longest_plain, self._dictionary)
        if column.physical_type != "BYTE_ARRAY":
            self.longest = max(_OBJECT, column.length or 0)

    def _add(self, page: Page) -> None:
        if page.is_dictionary:
            self._dictionary = max(self._dictionary, page.size)
            return
        of_dictionary = page.encoding in _OF_DICTIONARY
        self.begins_with_dictionary |= of_dictionary and not self._data_pages
        self._data_pages += 1
        lengths = _LENGTHS * page.values if page.encoding in _WITH_LENGTHS else 0
        self._largest_page = max(self._largest_page, page.size + lengths)
        if not of_dictionary:
            self.only_dictionary = False
            self._plain += page.size
            shared = page.size if page.encoding == _BY_PREFIX else -(-page.size // max(1, page.values))
            self.longest_plain = max(self.longest_plain, shared)

    @property
    def held_bytes(self) -> int:
        """The bytes that reading it takes at once, beside the values of a batch."""
        held = _COPIES * self._dictionary + 2 * self._largest_page + self._repeated_values * self.longest
        return held + _COPIES * self._plain if self.as_dictionary else held

    def row_bytes(self, limit: int) -> int:
        """Return the bytes that a row may take, if texts of a dictionary are copied up to a limit."""
        return _OBJECT + (min(self.longest, limit) if self.as_dictionary else self.longest)
