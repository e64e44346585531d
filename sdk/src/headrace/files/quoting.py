"""From the lines of CSV to its records: quoting is as RFC 4180 has it, and a stray quote costs no other row.

A quoted cell may have line breaks. A quote that nothing closes, or that something far below closes by chance, would
make all rows between part of one cell. So a record of several lines has to be one that its table can confirm; where it
is none, its first line alone is wrong, and those behind it are read again by themselves.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

#: Lines that a record may have.
MAX_LINES = 1_000

_INSIDE = r'[^"]*(?:""[^"]*)*'
_CELL = rf'(?:"{_INSIDE}"|[^",\r\n]*)'
_END = r"(?:\r\n|\n|\r)?"
#: A line that is a record; one whose last cell goes on below.
_WHOLE = re.compile(rf"{_CELL}(?:,{_CELL})*{_END}")
_OPENS = re.compile(rf'(?:{_CELL},)*"{_INSIDE}')
#: A line that ends a record whose cell goes on in it; one that ends the cell and begins another.
_CLOSES = re.compile(rf'{_INSIDE}"(?:,{_CELL})*{_END}')
_REOPENS = re.compile(rf'{_INSIDE}"(?:,{_CELL})*,"{_INSIDE}')
_STAYS = re.compile(_INSIDE)

_STRAY = "a quote inside of a cell"


def quoted_part(text: str) -> str:
    """The part of a line that belongs to a cell which is open where the line begins.

    Examples
    --------
    >>> quoted_part('said ""no"" and left",3')
    'said ""no"" and left'
    """
    found = _STAYS.match(text)
    return found.group() if found else ""


class Record(NamedTuple):
    """A record of CSV: the line where it starts, its text, and why it is none."""

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
        Characters that a record may have.

    Attributes
    ----------
    doubt
        Says what is wrong with a record of several lines, given the line where it starts, the whole of it and its lines
        behind the first; "" if nothing.
    """

    def __init__(self, lines: Iterator[str], limit: int) -> None:
        self.doubt: Callable[[int, str, Sequence[str]], str] = lambda line, whole, behind: ""
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
            return Record(line, text, f"a line of {self._limit:,} characters or more")
        if '"' not in text or _WHOLE.fullmatch(text):
            return Record(line, text)
        return self._join(line, text) if _OPENS.fullmatch(text) else Record(line, text, _STRAY)

    def _take(self) -> str | None:
        return self._again.popleft() if self._again else next(self._lines, None)

    def _join(self, line: int, first: str) -> Record:
        """The record that goes on below its first line."""
        behind: list[str] = []
        wrong = self._read_on(first, behind)
        whole = "".join((first, *behind))
        wrong = wrong or self.doubt(line, whole, behind)
        if wrong:
            self._again.extendleft(reversed(behind))
            return Record(line, first, wrong)
        self._line += len(behind)
        return Record(line, whole)

    def _read_on(self, first: str, behind: list[str]) -> str:
        """Read up to the end of a record; what is wrong with it."""
        size = len(first)
        while (text := self._take()) is not None:
            behind.append(text)
            size += len(text)
            if '"' in text:
                if _CLOSES.fullmatch(text):
                    return ""
                if not (_STAYS.fullmatch(text) or _REOPENS.fullmatch(text)):
                    return "a quote that opens a cell, and none that closes it"
            if size >= self._limit or len(behind) >= MAX_LINES:
                return f"a quote that nothing closes within {len(behind):,} lines"
        return "a quote that nothing closes"
