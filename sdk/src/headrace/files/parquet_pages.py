"""Headers of Parquet's pages: what a page unpacks to, before anything is unpacked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from headrace.files.thrift import I32, Shape, read_structure

#: Kinds of pages.
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
#: Fields of a page's header, and of the headers within it.
_KIND, _UNPACKED, _PACKED, _V1, _OF_DICTIONARY, _V2 = 1, 2, 3, 5, 7, 8
_VALUES = 1
_ENCODING_FIELD = {_V1: 2, _OF_DICTIONARY: 2, _V2: 4}
_HEADER_OF = {_DATA: _V1, _DICTIONARY: _OF_DICTIONARY, _DATA_V2: _V2}
_INNER: dict[int, Shape] = {place: {_VALUES: I32, encoding: I32} for place, encoding in _ENCODING_FIELD.items()}
_HEADER: Shape = {_KIND: I32, _UNPACKED: I32, _PACKED: I32, **_INNER}


class Page(NamedTuple):
    """What a page's header says of it.

    Attributes
    ----------
    is_dictionary
        It holds a dictionary, not the values of rows.
    encoding
        Its number in the format of Parquet.
    values
        How many it has, missing ones included.
    size
        Its bytes once unpacked.
    """

    is_dictionary: bool
    encoding: int
    values: int
    size: int


def pages(file: IO[bytes], start: int, length: int, values: int) -> Iterator[Page]:
    """Yield the pages of a column chunk, up to the number of values that it has.

    Raises
    ------
    ValueError
        The bytes are no headers.
    """
    end, at, seen = start + length, start, 0
    while seen < values and at < end:
        file.seek(at)
        header = read_structure(file, _HEADER)
        kind = header.get(_KIND)
        if min(header.get(_UNPACKED, -1), header.get(_PACKED, -1)) < 0:
            raise ValueError(f"a page without a size at byte {at:,}")
        at = file.tell() + header[_PACKED]
        if kind not in _HEADER_OF:
            continue
        page = _page(header, _HEADER_OF[kind])
        yield page
        seen += 0 if page.is_dictionary else page.values


def _page(header: dict[int, Any], place: int) -> Page:
    inner = header.get(place, {})
    values, encoding = inner.get(_VALUES, -1), inner.get(_ENCODING_FIELD[place], 0)
    if values < 0:
        raise ValueError("a page without a number of values")
    return Page(place == _OF_DICTIONARY, encoding, values, header[_UNPACKED])
