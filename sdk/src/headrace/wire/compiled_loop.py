"""The compiled loop as a document: `loop.json`, the file that services are started with."""

from __future__ import annotations

import msgspec

from headrace.definition import LoopDefinition
from headrace.wire import document


def encode(loop: LoopDefinition) -> bytes:
    """Return the compiled loop as JSON."""
    return document.seal("loop", msgspec.json.format(msgspec.json.encode(loop), indent=1))


def decode(data: bytes, subject: str = "the compiled loop") -> LoopDefinition:
    """Read a compiled loop.

    Raises
    ------
    Unreadable
        The bytes are not a compiled loop, are damaged, or are in another format.
    """
    return _LOOP.decode(data, subject)


_LOOP = document.Document[LoopDefinition]("loop", LoopDefinition)
