"""The frame of binary values in the store and in files: a header of 16 bytes, then the body.

The header: `HR`, the kind, the format, the version of headrace that reads it (major, minor), two zero bytes, the length
of the body, and the CRC-32 of everything before it and of the body. Each later format has the same header, so a reader
tells a newer format from damage by the checksum.
"""

from __future__ import annotations

import struct
import zlib
from enum import IntEnum
from typing import Any, Generic, TypeVar

import msgspec

from headrace.errors import Unreadable
from headrace.wire.formats import FORMAT, VERSION, check_format, version_text, without_format

_Value = TypeVar("_Value")

_MAGIC = b"HR"
_HEAD, _CRC = struct.Struct(">2sBBBBHI"), struct.Struct(">I")

#: First bytes of MessagePack's maps and arrays: states had no header before format 1.
_BEFORE = frozenset((*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF))

#: Number of bytes before the body.
HEADER_BYTES = _HEAD.size + _CRC.size


class Kind(IntEnum):
    """Kinds of frame contents."""

    PARTITION = 1
    POSITION = 2
    DECISIONS = 3
    JOIN = 4
    PAIRS = 5
    VERSION = 6


def seal(kind: Kind, body: bytes) -> bytes:
    """Wrap a body in its frame."""
    head = _HEAD.pack(_MAGIC, kind, FORMAT, *VERSION, 0, len(body))
    return b"".join((head, _CRC.pack(zlib.crc32(body, zlib.crc32(head))), body))


def unseal(kind: Kind, data: bytes, subject: str) -> bytes:
    """Return the body of a frame.

    Parameters
    ----------
    subject
        Description of what is read, for the error.

    Raises
    ------
    Unreadable
        It is truncated, changed, of another kind or of another format.
    """
    if data[:1] and data[0] in _BEFORE:
        raise without_format(subject)
    if data[:2] != _MAGIC:
        raise Unreadable(subject, "it has no header")
    if len(data) < HEADER_BYTES:
        raise Unreadable(subject, f"it has {len(data)} bytes, less than its header of {HEADER_BYTES}")
    _, code, number, major, minor, _, length = _HEAD.unpack_from(data)
    if length != len(data) - HEADER_BYTES:
        raise Unreadable(subject, f"it has {len(data) - HEADER_BYTES} bytes, and its header says {length}")
    body = data[HEADER_BYTES:]
    if _CRC.unpack_from(data, _HEAD.size)[0] != zlib.crc32(body, zlib.crc32(data[: _HEAD.size])):
        raise Unreadable(subject, "its bytes do not have the checksum of its header")
    check_format(subject, number, version_text((major, minor)))
    if code != kind:
        raise Unreadable(subject, f"it is of kind {code}, not {kind}")
    return body


class Packed(Generic[_Value]):
    """A type as MessagePack in a frame.

    Create it on import: msgspec inspects a type with its first decoder, and two threads that do so at once crash.
    """

    def __init__(self, kind: Kind, of: Any) -> None:
        self._kind = kind
        self._decoder: msgspec.msgpack.Decoder[_Value] = msgspec.msgpack.Decoder(of)

    def encode(self, value: _Value) -> bytes:
        """Write a value."""
        return seal(self._kind, msgspec.msgpack.encode(value))

    def decode(self, data: bytes, subject: str) -> _Value:
        """Read a value.

        Raises
        ------
        Unreadable
            It is not a value of this type.
        """
        body = unseal(self._kind, data, subject)
        try:
            return self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise Unreadable(subject, f"it does not fit its format: {error}") from error
