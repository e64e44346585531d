"""Merging files in the order of their events' times, in bounded memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from headrace import files
from headrace.definition import LoopDefinition, StreamDefinition
from headrace.errors import UnknownName
from headrace.files import Fault, Rows

_MAX_FAULTS = 100
#: The place of rows that come before the first known time.
BEFORE_ALL = -(2**63)


class Row(NamedTuple):
    """A row of a merge.

    `place` is the newest time in its file so far, `rank` is its source's index.
    """

    place: int
    rank: int
    event: bytes
    line: int


@dataclass
class Source:
    """A file of one stream, read in batches.

    A row out of order is emitted as soon as it is read; a row without a time keeps its place.

    Attributes
    ----------
    rank
        Its place among the sources at equal times.
    disorder
        By how much (µs) an event was older than an earlier one, at most.
    faults
        The first rows that are not events.
    """

    path: Path
    stream: StreamDefinition
    rank: int
    disorder: int = 0
    faults: list[Fault] = field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        """Yield its rows, in the order of the file."""
        newest, rank = BEFORE_ALL, self.rank
        for rows in self._read():
            if newest == BEFORE_ALL:
                newest = next((time for time in rows.times if time is not None), BEFORE_ALL)
            for time, event, line in zip(rows.times, rows.events, rows.lines, strict=True):
                if time is not None:
                    if time >= newest:
                        newest = time
                    else:
                        self.disorder = max(self.disorder, newest - time)
                yield Row(newest, rank, event, line)

    def _read(self) -> Iterator[Rows]:
        for rows in files.read(self.path, self.stream):
            self.faults += rows.faults[: _MAX_FAULTS - len(self.faults)]
            yield rows


def sources_of(loop: LoopDefinition, paths: Sequence[tuple[Path, str]]) -> list[Source]:
    """Return the sources of files, ranked in the order of their streams in the loop, then in the order given.

    Each file comes with the name of its stream.

    Raises
    ------
    UnknownName
        The loop has no such stream.
    """
    order = [stream.name for stream in loop.streams]
    for _, name in paths:
        if name not in order:
            raise UnknownName("stream", name, tuple(order))
    ranked = sorted(paths, key=lambda pair: order.index(pair[1]))
    return [Source(path, loop.stream(name), rank) for rank, (path, name) in enumerate(ranked)]


def merge(sources: Sequence[Source]) -> Iterator[Row]:
    """Merge the rows of all sources by time, then by rank, then by their order in the file."""
    # At most one row per source is held at a time, so (place, rank) never ties and nothing after it is compared.
    return heapq.merge(*(source.rows() for source in sources))


class Origins:
    """The origins of a stream's events, as runs of lines, so that a whole file in order takes one entry.

    It remembers everything up to `limit` runs, and then adds nothing.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._runs: dict[str, list[tuple[int, int, int]]] = {}
        self._next: dict[str, tuple[int, int, int]] = {}
        self._room = limit

    def add(self, stream: str, rank: int, line: int) -> None:
        """Note that the next event of a stream came from a line of a source."""
        index, next_rank, next_line = self._next.get(stream, (0, -1, -1))
        if (rank != next_rank or line != next_line) and self._room:
            self._runs.setdefault(stream, []).append((index, rank, line))
            self._room -= 1
        self._next[stream] = (index + 1, rank, line + 1)

    def find(self, stream: str, index: int) -> tuple[int, int] | None:
        """Return the source and line of an event; None if that is not known any more."""
        if not self._room or index >= self._next.get(stream, (0, 0, 0))[0]:
            return None
        start, rank, line = max(run for run in self._runs[stream] if run[0] <= index)
        return rank, line + index - start
