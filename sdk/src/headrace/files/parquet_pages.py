"""Headers of Parquet's pages: what a page unpacks to, before anything is unpacked (Thrift's compact protocol)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, NamedTuple

#: Kinds of pages.
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
#: Fields of a page's header, and of the headers within it.
_KIND, _UNPACKED, _PACKED, _V1, _OF_DICTIONARY, _V2 = 1, 2, 3, 5, 7, 8
_VALUES = 1
_ENCODING_FIELD = {_V1: 2, _V2: 4}
_HEADER_OF = {_DATA: _V1, _DICTIONARY: _OF_DICTIONARY, _DATA_V2: _V2}
#: Types of Thrift's compact protocol, and the bytes of those with a fixed size.
_STOP, _TRUE, _FALSE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 8, 9, 10, 12
_FIXED = {3: 1, 7: 8}
_INTEGERS = (4, 5, 6)
#: The most bytes of an integer, and the deepest structure; a header of Parquet has three levels.
_MAX_VARINT = 10
#: The most bytes of a text; a longer one ends beyond its page.
_MAX_TEXT = 2**31
_MAX_DEPTH = 8
#: A list's length that does not fit into its first byte.
_LONG_LIST = 15


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
        header = _struct(file, 0)
        sizes = header.get(_UNPACKED), header.get(_PACKED)
        kind = header.get(_KIND)
        if not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise ValueError(f"a page without a size at byte {at:,}")
        at = file.tell() + header[_PACKED]
        if kind not in _HEADER_OF:
            continue
        page = _page(header, _HEADER_OF[kind])
        yield page
        seen += 0 if page.is_dictionary else page.values


def _page(header: dict[int, Any], place: int) -> Page:
    inner = header.get(place)
    if not isinstance(inner, dict):
        raise ValueError("a page without its kind of header")
    values, encoding = inner.get(_VALUES), inner.get(_ENCODING_FIELD.get(place, 0), 0)
    if not isinstance(values, int) or values < 0 or not isinstance(encoding, int):
        raise ValueError("a page without a number of values")
    return Page(place == _OF_DICTIONARY, encoding, values, header[_UNPACKED])


def _struct(file: IO[bytes], depth: int) -> dict[int, Any]:
    """Read a structure: its integers and structures by the number of the field; other values are skipped."""
    if depth > _MAX_DEPTH:
        raise ValueError("a page's header with too many levels")
    fields: dict[int, Any] = {}
    number = 0
    while kind := (first := _byte(file)) & 0x0F:
        number = number + (first >> 4) if first >> 4 else _integer(file)
        fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else _value(file, kind, depth)
    return fields


def _value(file: IO[bytes], kind: int, depth: int) -> Any:
    if kind in _INTEGERS:
        return _integer(file)
    if kind == _STRUCT:
        return _struct(file, depth + 1)
    if kind == _BINARY:
        file.seek(min(_varint(file), _MAX_TEXT), 1)
    elif kind in _FIXED:
        file.seek(_FIXED[kind], 1)
    elif kind in (_LIST, _SET):
        _skip_list(file, depth)
    else:
        raise ValueError(f"a page's header with type {kind}")
    return None


def _skip_list(file: IO[bytes], depth: int) -> None:
    first = _byte(file)
    count = first >> 4 if first >> 4 < _LONG_LIST else _varint(file)
    kind = first & 0x0F
    for _ in range(count):
        if kind in (_TRUE, _FALSE):
            _byte(file)
        else:
            _value(file, kind, depth + 1)


def _integer(file: IO[bytes]) -> int:
    number = _varint(file)
    return (number >> 1) ^ -(number & 1)


def _varint(file: IO[bytes]) -> int:
    number = 0
    for place in range(_MAX_VARINT):
        byte = _byte(file)
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return number
    raise ValueError("a page's header with an integer of more than ten bytes")


def _byte(file: IO[bytes]) -> int:
    byte = file.read(1)
    if not byte:
        raise ValueError("a page's header that ends with the file")
    return byte[0]
