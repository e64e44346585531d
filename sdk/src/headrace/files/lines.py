"""Reading of a file's lines in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, AnyStr

#: How much of a line is read; the rest of a longer one is skipped, and the part that was read fits no stream.
MAX_LINE = 2**20


def text_lines(file: IO[AnyStr], limit: int = MAX_LINE) -> Iterator[AnyStr]:
    """Yield the lines of a file, each cut to `limit`."""
    readline = file.readline
    while line := readline(limit):
        yield line
        if len(line) >= limit:
            _skip(file, line, limit)


def _skip(file: IO[AnyStr], line: AnyStr, limit: int) -> None:
    while line and not _ends(line):
        line = file.readline(limit)


def _ends(line: AnyStr) -> bool:
    return line.endswith(("\n", "\r")) if isinstance(line, str) else line.endswith(b"\n")
