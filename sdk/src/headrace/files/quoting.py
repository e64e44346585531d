"""Splitting of CSV lines into records: quoting follows RFC 4180, and a stray quote damages no other row.

A quoted cell may have line breaks. A quote that is never closed, or is closed by chance far below, would
turn all rows in between into one cell. Therefore a record of several lines must be confirmed by its table; if it
is not, only its first line is wrong, and the lines after it are read again on their own.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

#: The most lines that a record may have.
MAX_LINES = 1_000

_INSIDE = r'[^"]*(?:""[^"]*)*'
_CELL = rf'(?:"{_INSIDE}"|[^",\r\n]*)'
_END = r"(?:\r\n|\n|\r)?"
#: A line that is a whole record; a line whose last cell continues below.
_WHOLE = re.compile(rf"{_CELL}(?:,{_CELL})*{_END}")
_OPENS = re.compile(rf'(?:{_CELL},)*"{_INSIDE}')
#: A line that ends a record within a continued cell; a line that ends that cell and opens another.
_CLOSES = re.compile(rf'{_INSIDE}"(?:,{_CELL})*{_END}')
_REOPENS = re.compile(rf'{_INSIDE}"(?:,{_CELL})*,"{_INSIDE}')
_STAYS = re.compile(_INSIDE)

TOO_LONG = "a line of"
_STRAY = "a quote inside of a cell"


def quoted_part(text: str) -> str:
    """Return the part of a line that belongs to a cell which is open where the line begins.

    Examples
    --------
    >>> quoted_part('said ""no"" and left",3')
    'said ""no"" and left'
    """
    match = _STAYS.match(text)
    return match.group() if match else ""


class Record(NamedTuple):
    """A record of CSV: the line where it starts, its text, and why it is not valid."""

    line: int
    text: str
    wrong: str = ""


class Records:
    """The records of a file.

    Parameters
    ----------
    lines
        Its lines, each cut to `limit`.
    limit
        The most characters that a record may have.

    Attributes
    ----------
    doubt
        Returns what is wrong with a record of several lines, given its first line's number, its whole text and its
        lines after the first; "" if nothing is.
    """

    def __init__(self, lines: Iterator[str], limit: int) -> None:
        self.doubt: Callable[[int, str, Sequence[str]], str] = lambda line, record, following: ""
        self._lines = lines
        self._limit = limit
        self._again: deque[str] = deque()
        self._line = 1

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        text = self._take()
        if text is None:
            raise StopIteration
        line = self._line
        self._line += 1
        if len(text) >= self._limit:
            return Record(line, text, f"{TOO_LONG} {self._limit:,} characters or more")
        if '"' not in text or _WHOLE.fullmatch(text):
            return Record(line, text)
        return self._join(line, text) if _OPENS.fullmatch(text) else Record(line, text, _STRAY)

    def _take(self) -> str | None:
        return self._again.popleft() if self._again else next(self._lines, None)

    def _join(self, line: int, first: str) -> Record:
        """Return the record that continues below its first line."""
        following: list[str] = []
        problem = self._read_on(first, following)
        text = "".join((first, *following))
        problem = problem or self.doubt(line, text, following)
        if problem:
            self._again.extendleft(reversed(following))
            return Record(line, first, problem)
        self._line += len(following)
        return Record(line, text)

    def _read_on(self, first: str, following: list[str]) -> str:
        """Read up to the end of a record; return what is wrong with it."""
        size = len(first)
        while (text := self._take()) is not None:
            following.append(text)
            size += len(text)
            if '"' in text:
                if _CLOSES.fullmatch(text):
                    return ""
                if not (_STAYS.fullmatch(text) or _REOPENS.fullmatch(text)):
                    return "a quote that opens a cell, and none that closes it"
            if size >= self._limit or len(following) >= MAX_LINES:
                return f"a quote that nothing closes within {len(following):,} lines"
        return "a quote that nothing closes"
