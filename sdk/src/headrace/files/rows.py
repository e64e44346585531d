"""What reading a file gives: events in the file's order, and what is wrong with which."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from headrace.errors import InvalidEvent, InvalidRequest


class Fault(NamedTuple):
    """A row that is no event of its stream."""

    path: Path
    line: int
    error: InvalidEvent

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.error}"


@dataclass
class Rows:
    """Some rows of a file, in order.

    Attributes
    ----------
    events
        Each as JSON. A row with a fault is among them as it came, so that it can be sent to the dead letters.
    times
        Event times in µs; None where the row does not tell.
    lines
        The line of each (CSV, JSON Lines), or its number (Parquet), from 1.
    faults
        The rows among them that are no events.
    """

    events: list[bytes] = field(default_factory=list)
    times: list[int | None] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.events)

    def add(self, event: bytes, time: int | None, line: int) -> None:
        """One more row."""
        self.events.append(event)
        self.times.append(time)
        self.lines.append(line)


def broken(path: Path, line: int, what: str, expected: str) -> InvalidRequest:
    """The error of a file that cannot be read on from a line."""
    return InvalidRequest(f"{path}:{line}", what, expected)
