"""The frame of JSON documents (`loop.json`, statuses): one JSON object, whose last field is the body.

`length` and `crc32` are those of the body's bytes exactly as written. The document therefore stays readable for people
and tools.
"""

from __future__ import annotations

import zlib
from typing import Any, Generic, TypeVar

import msgspec

from headrace.errors import Unreadable
from headrace.wire.formats import FORMAT, VERSION, check_format, version_text, without_format

_Value = TypeVar("_Value")


class _Format(msgspec.Struct):
    format: int | None = None
    version: str = "unknown"


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    version: str
    kind: str
    length: int
    crc32: str
    body: msgspec.Raw


# Made on import: msgspec inspects a type with its first decoder, and two threads that do so at once crash the process.
_FORMAT, _DOCUMENT = msgspec.json.Decoder(_Format), msgspec.json.Decoder(_Document)

_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError)


def seal(kind: str, body: bytes) -> bytes:
    """Wrap a JSON body in its document."""
    head = f'{{"format":{FORMAT},"version":"{version_text(VERSION)}","kind":"{kind}","length":{len(body)}'
    return b'%b,"crc32":"%08x","body":%b}' % (head.encode(), zlib.crc32(body), body)


def unseal(kind: str, data: bytes, subject: str) -> bytes:
    """Return the body of a document.

    Raises
    ------
    Unreadable
        It is truncated, changed, of another kind or of another format.
    """
    try:
        header = _FORMAT.decode(data)
        if header.format is None:
            raise without_format(subject)
        check_format(subject, header.format, header.version[:20])
        document = _DOCUMENT.decode(data)
    except _ERRORS as error:
        raise Unreadable(subject, f"it is no document of headrace: {error}") from error
    body = bytes(document.body)
    if document.kind != kind:
        raise Unreadable(subject, f"it is of kind {document.kind[:20]!r}, not {kind!r}")
    if document.length != len(body):
        raise Unreadable(subject, f"its body has {len(body)} bytes, and it says {document.length}")
    if document.crc32 != f"{zlib.crc32(body):08x}":
        raise Unreadable(subject, "its body does not have the checksum that it says")
    return body


class Document(Generic[_Value]):
    """A type as JSON in a document; create it on import, like `headrace.wire.frame.Packed`."""

    def __init__(self, kind: str, of: Any) -> None:
        self.kind = kind
        self._decoder: msgspec.json.Decoder[_Value] = msgspec.json.Decoder(of)

    def encode(self, value: _Value) -> bytes:
        """Write a value."""
        return seal(self.kind, msgspec.json.encode(value))

    def decode(self, data: bytes, subject: str) -> _Value:
        """Read a value.

        Raises
        ------
        Unreadable
            It is not a value of this type.
        """
        body = unseal(self.kind, data, subject)
        try:
            return self._decoder.decode(body)
        except _ERRORS as error:
            raise Unreadable(subject, f"it does not fit its format: {error}") from error
