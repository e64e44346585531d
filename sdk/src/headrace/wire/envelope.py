"""The header of every message on a topic that headrace writes, in the message's properties.

The payload is what its topic says (Arrow, or a protobuf message), so any client can read it. A missing property has no
value: no number means "unknown".
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from headrace.errors import Unreadable
from headrace.watermark import ENDED, UNKNOWN
from headrace.wire.formats import FORMAT, VERSION, check_format, version_text, without_format
from headrace.wire.position import Position
from headrace.wire.times import Inactive, from_wire, to_wire

_FORMAT, _VERSION, _LENGTH, _CRC = "format", "version", "length", "crc32"
_HEADER = (_FORMAT, _VERSION, _LENGTH, _CRC)

#: Value of `release_watermark` before anything is known of the sources of a log.
_NOTHING = "unknown"

#: The value of a property that is either set or missing.
_SET = "1"

#: Maximum number of characters of a value that an error repeats.
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Envelope:
    """The header of a message.

    Attributes
    ----------
    epoch
        Epoch of the owner that wrote it; None: it has none, like what is logged for a request.
    partition
        The source partition that it was made from.
    definition
        Hash of the model's definition that it was made for.
    examples
        Hash of what the examples of that definition are made of.
    candidate
        The candidate of the model, if it has several.
    former
        Hash of the definition whose vectors it holds after its own.
    marker
        A new owner has taken over the partition.
    missed
        For a marker of an owner whose predecessor did not have the model: the position of the last event that may have
        no vector, as `Position.to_bytes`.
    release_watermark
        Readers need not wait for anything before this time (µs): a watermark, or `IDLE`, `ENDED` or `UNKNOWN` of
        `headrace.watermark`. None: the message does not change it.
    watermark
        Nothing before this time (µs) will come, in any case; None or `UNKNOWN`: the message does not change it.
    released
        It holds only entries that were logged because a source is idle or ended.
    remaking
        The examples of a changed model are still being remade.
    stream
        For a dead letter: the stream of its event.
    retried, outcome
        For a mark on a retried dead letter: the position of that dead letter, and the outcome.
    """

    epoch: int | None = None
    partition: int = 0
    definition: str = ""
    examples: str = ""
    candidate: str = ""
    former: str = ""
    marker: bool = False
    missed: bytes = b""
    release_watermark: int | None = None
    watermark: int | None = None
    released: bool = False
    remaking: bool = False
    stream: str = ""
    retried: str = ""
    outcome: str = ""

    def properties(self, payload: bytes) -> dict[str, str]:
        """Return the properties of the message that has this header and payload."""
        properties = {
            name: write(value)
            for name, (write, _, absent) in _FIELDS.items()
            if (value := getattr(self, name)) not in (absent, None)
        }
        properties |= {_FORMAT: str(FORMAT), _VERSION: version_text(VERSION), _LENGTH: str(len(payload))}
        return properties | {_CRC: _checksum(properties, payload)}


def has_header(properties: Mapping[str, str]) -> bool:
    """Return whether a message has a header, valid or not."""
    return _FORMAT in properties


def read_envelope(properties: Mapping[str, str], payload: bytes, subject: str) -> Envelope:
    """Read the header of a message, and check its payload against it.

    Parameters
    ----------
    subject
        Description of the message, for the error.

    Raises
    ------
    Unreadable
        The header is missing, damaged or of another format, or the payload is not the one that it was written for.
    """
    if not has_header(properties):
        if "definition" in properties:
            raise without_format(subject)
        raise Unreadable(subject, "it has no header")
    check_format(subject, _number(subject, _FORMAT, properties[_FORMAT]), properties.get(_VERSION, "unknown")[:_SHOWN])
    if properties.get(_LENGTH) != str(len(payload)):
        raise Unreadable(
            subject, f"it has {len(payload)} bytes, and its header says {_excerpt(properties.get(_LENGTH))}"
        )
    fields = {name: value for name, value in properties.items() if name != _CRC}
    if properties.get(_CRC) != _checksum(fields, payload):
        raise Unreadable(subject, "its header and its bytes do not have the checksum of its header")
    if unknown := sorted(fields.keys() - _FIELDS.keys() - set(_HEADER)):
        raise Unreadable(subject, f"its header has {_excerpt(unknown[0])}, which this format does not know")
    return Envelope(
        **{name: read(subject, name, fields[name]) for name, (_, read, _) in _FIELDS.items() if name in fields}
    )


def _checksum(fields: Mapping[str, str], payload: bytes) -> str:
    head = "\n".join(f"{name}={value}" for name, value in sorted(fields.items()))
    return f"{zlib.crc32(payload, zlib.crc32(head.encode(errors='surrogatepass'))):08x}"


def _number(subject: str, name: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 19 and abs(int(text)) < 2**63):
        raise Unreadable(subject, f"its {name} is {_excerpt(text)}, not a number of 64 bits")
    return int(text)


def _natural(subject: str, name: str, text: str) -> int:
    number = _number(subject, name, text)
    if number < 0:
        raise Unreadable(subject, f"its {name} is {number}, which is negative")
    return number


def _time(subject: str, name: str, text: str) -> int:
    number = _number(subject, name, text)
    if not UNKNOWN < number < ENDED:
        raise Unreadable(subject, f"its {name} is {number}, which is no time in µs")
    return number


def _release_watermark(subject: str, name: str, text: str) -> int:
    if text == _NOTHING:
        return UNKNOWN
    return from_wire(Inactive(text)) if text in set(Inactive) else _time(subject, name, text)


def _flag(subject: str, name: str, text: str) -> bool:
    if text != _SET:
        raise Unreadable(subject, f"its {name} is {_excerpt(text)}, not {_SET!r}")
    return True


def _position(subject: str, name: str, text: str) -> bytes:
    with suppress(ValueError, Unreadable):
        return Position.from_bytes(bytes.fromhex(text)).to_bytes()
    raise Unreadable(subject, f"its {name} is {_excerpt(text)}, which is no position")


def _text(subject: str, name: str, text: str) -> str:
    return text


def _set(_value: bool) -> str:
    return _SET


def _release_watermark_text(time: int) -> str:
    written = to_wire(time)
    return _NOTHING if written is None else str(written)


def _excerpt(text: str | None) -> str:
    return ascii(text if text is None else text[:_SHOWN])


_Write: TypeAlias = Callable[[Any], str]
_Read: TypeAlias = Callable[[str, str, str], Any]

#: For each field: how to write it, how to read it, and the value that is not written.
_FIELDS: dict[str, tuple[_Write, _Read, Any]] = {
    "epoch": (str, _natural, None),
    "partition": (str, _natural, 0),
    "definition": (str, _text, ""),
    "examples": (str, _text, ""),
    "candidate": (str, _text, ""),
    "former": (str, _text, ""),
    "marker": (_set, _flag, False),
    "missed": (bytes.hex, _position, b""),
    "release_watermark": (_release_watermark_text, _release_watermark, None),
    "watermark": (str, _time, UNKNOWN),
    "released": (_set, _flag, False),
    "remaking": (_set, _flag, False),
    "stream": (str, _text, ""),
    "retried": (str, _text, ""),
    "outcome": (str, _text, ""),
}
