"""The rejected rows, with their files and lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from headrace.client.merging import Origins, Source
from headrace.client.publishing import Rejection
from headrace.errors import InvalidEvent


class RejectedRow(NamedTuple):
    """A row that is not an event of its stream; it has no line if too many came before it."""

    stream: str
    path: Path | None
    line: int
    error: InvalidEvent

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.path else f"event {self.line} of stream {self.stream}"
        return f"{place}: {self.error}"


def rejected_rows(
    rejections: Sequence[Rejection], sources: Sequence[Source], origins: Origins
) -> tuple[RejectedRow, ...]:
    """Return rejections with their lines. If the file itself shows what is wrong with a row, that reason counts."""
    faults = {(fault.path, fault.line): fault.error for source in sources for fault in source.faults}
    rows = []
    for rejection in rejections:
        origin = origins.find(rejection.stream, rejection.index)
        if origin is None:
            rows.append(RejectedRow(rejection.stream, None, rejection.index, rejection.error))
            continue
        path, line = sources[origin[0]].path, origin[1]
        rows.append(RejectedRow(rejection.stream, path, line, faults.get((path, line), rejection.error)))
    return tuple(rows)
