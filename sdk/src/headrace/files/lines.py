"""Reading of a file's lines in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import IO, AnyStr, TypeVar

#: How much of a line is read; the rest of a longer one is skipped, and the part that was read fits no stream.
MAX_LINE = 2**20
#: The most characters of the lines of a batch, apart from its last line.
_BATCH = 16 * 2**20

_Item = TypeVar("_Item")


def text_lines(file: IO[AnyStr], limit: int = MAX_LINE) -> Iterator[AnyStr]:
    """Yield the lines of a file, each cut to `limit`."""
    readline = file.readline
    while line := readline(limit):
        yield line
        if len(line) >= limit:
            _skip(file, line, limit)


def take(items: Iterator[_Item], count: int, size: Callable[[_Item], int], most: int = _BATCH) -> list[_Item]:
    """Take the next items: at most `count`, and no more once their sizes add up to `most`.

    Examples
    --------
    >>> words = iter(["a", "bcd", "ef", "g"])
    >>> take(words, 3, len, most=4), take(words, 3, len, most=4)
    (['a', 'bcd'], ['ef', 'g'])
    """
    taken: list[_Item] = []
    total = 0
    while len(taken) < count and total < most and (item := next(items, None)) is not None:
        taken.append(item)
        total += size(item)
    return taken


def _skip(file: IO[AnyStr], line: AnyStr, limit: int) -> None:
    while line and not _ends(line):
        line = file.readline(limit)


def _ends(line: AnyStr) -> bool:
    return line.endswith(("\n", "\r")) if isinstance(line, str) else line.endswith(b"\n")
