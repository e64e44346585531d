"""JSON Lines: one JSON object per line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from headrace.definition import StreamDefinition
from headrace.engine.events import StreamCodec
from headrace.errors import InvalidEvent
from headrace.files.lines import MAX_LINE, text_lines
from headrace.files.rows import Fault, Rows

_BOM = b"\xef\xbb\xbf"


def read_json_lines(file: IO[bytes], path: Path, stream: StreamDefinition, batch: int) -> Iterator[Rows]:
    """Read JSON Lines; skip empty lines."""
    codec = StreamCodec(stream)
    rows = Rows()
    for number, line in enumerate(text_lines(file, max(MAX_LINE, 2 * stream.max_bytes)), 1):
        event = line.removeprefix(_BOM).strip() if number == 1 else line.strip()
        if not event:
            continue
        try:
            rows.add(*codec.sendable(event), number)
        except InvalidEvent as error:
            rows.add(event, None, number)
            rows.faults.append(Fault(path, number, error))
        if len(rows) == batch:
            yield rows
            rows = Rows()
    if rows:
        yield rows
