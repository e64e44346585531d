"""The result of reading a file: events in the file's order, and the faults among them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from headrace.errors import InvalidEvent, InvalidRequest


class Fault(NamedTuple):
    """A row that is not an event of its stream."""

    path: Path
    line: int
    error: InvalidEvent

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.error}"


@dataclass
class Rows:
    """A batch of a file's rows, in order.

    Attributes
    ----------
    events
        Each as JSON. A faulty row is included as it was in the file, so that it can be sent to the dead letters.
    times
        Event times in µs; None if the row has none.
    lines
        The line of each (CSV, JSON Lines), or its row number (Parquet), from 1.
    faults
        The rows among them that are not events.
    """

    events: list[bytes] = field(default_factory=list)
    times: list[int | None] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.events)

    def add(self, event: bytes, time: int | None, line: int) -> None:
        """Add one more row."""
        self.events.append(event)
        self.times.append(time)
        self.lines.append(line)


def broken(path: Path, line: int, problem: str, expected: str) -> InvalidRequest:
    """Return the error of a file that cannot be read from a certain line on."""
    return InvalidRequest(f"{path}:{line}", problem, expected)
