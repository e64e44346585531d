"""Structures of Thrift's compact protocol, as Parquet writes them: only what a shape names is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import IO, Any, TypeAlias

#: The fields of a structure that are kept, by number: an integer of this type, a structure of this shape, or a list of
#: structures of the one shape in the list.
Shape: TypeAlias = "Mapping[int, int | Shape | list[Shape]]"

#: Types of the protocol, and the bytes of those with a fixed size.
_TRUE, _FALSE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 8, 9, 10, 12
I32, I64 = 5, 6
_FIXED = {3: 1, 7: 8}
_INTEGERS = (4, I32, I64)
#: The most bytes of an integer, and the deepest structure.
_MAX_VARINT = 10
_MAX_DEPTH = 16
#: The most bytes of a text; a longer one ends beyond its file.
_MAX_TEXT = 2**31
#: A list's length that does not fit into its first byte.
_LONG_LIST = 15


def read_structure(file: IO[bytes], shape: Shape) -> dict[int, Any]:
    """Read a structure: its fields by their numbers, those of the shape alone.

    Raises
    ------
    ValueError
        The bytes are no such structure, or a field comes twice: readers would differ in which one counts.
    """
    values: dict[int, Any] = {}
    for number, kind in _fields(file):
        expected = shape.get(number)
        if expected is None:
            _skip(file, kind, 0)
            continue
        if number in values:
            raise ValueError(f"field {number} more than once")
        values[number] = _kept(file, number, kind, expected)
    return values


def read_list(file: IO[bytes], number: int, shape: Shape) -> Iterator[dict[int, Any]]:
    """Read a structure one of whose fields is a list of structures; yield these, one at a time.

    Raises
    ------
    ValueError
        As for `read_structure`.
    """
    found = False
    for field, kind in _fields(file):
        if field != number:
            _skip(file, kind, 0)
        elif found or kind != _LIST:
            raise ValueError(f"field {number} of type {kind}, or more than once")
        else:
            found = True
            yield from _structures(file, number, shape)


def _kept(file: IO[bytes], number: int, kind: int, expected: int | Shape | list[Shape]) -> Any:
    if kind == expected:
        return _integer(file)
    if isinstance(expected, list) and kind == _LIST:
        return list(_structures(file, number, expected[0]))
    if isinstance(expected, Mapping) and kind == _STRUCT:
        return read_structure(file, expected)
    raise ValueError(f"field {number} of type {kind}")


def _structures(file: IO[bytes], number: int, shape: Shape) -> Iterator[dict[int, Any]]:
    kind, count = _list_header(file)
    if kind != _STRUCT and count:
        raise ValueError(f"field {number} with elements of type {kind}")
    for _ in range(count):
        yield read_structure(file, shape)


def _fields(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the number and type of each field; the caller reads its value."""
    number = 0
    while kind := (first := _byte(file)) & 0x0F:
        number = number + (first >> 4) if first >> 4 else _integer(file)
        yield number, kind


def _skip(file: IO[bytes], kind: int, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError("a structure with too many levels")
    if kind in _INTEGERS:
        _varint(file)
    elif kind == _STRUCT:
        for _, inner in _fields(file):
            _skip(file, inner, depth + 1)
    elif kind == _BINARY:
        file.seek(min(_varint(file), _MAX_TEXT), 1)
    elif kind in _FIXED:
        file.seek(_FIXED[kind], 1)
    elif kind in (_LIST, _SET):
        element, count = _list_header(file)
        for _ in range(count):
            _skip_element(file, element, depth + 1)
    elif kind not in (_TRUE, _FALSE):
        raise ValueError(f"a field of type {kind}")


def _skip_element(file: IO[bytes], kind: int, depth: int) -> None:
    if kind in (_TRUE, _FALSE):
        _byte(file)  # in a list, unlike in a field, it is not part of the type
    else:
        _skip(file, kind, depth)


def _list_header(file: IO[bytes]) -> tuple[int, int]:
    """Return the type of a list's elements, and how many they are."""
    first = _byte(file)
    return first & 0x0F, first >> 4 if first >> 4 < _LONG_LIST else _varint(file)


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
    raise ValueError("an integer of more than ten bytes")


def _byte(file: IO[bytes]) -> int:
    byte = file.read(1)
    if not byte:
        raise ValueError("a structure that ends with the file")
    return byte[0]
