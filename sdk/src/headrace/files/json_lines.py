"""JSON Lines: one JSON object per line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from headrace.definition import StreamDefinition
from headrace.engine.events import StreamCodec
from headrace.errors import InvalidEvent
from headrace.files.lines import MAX_LINE, take, text_lines
from headrace.files.rows import Fault, Rows

_BOM = b"\xef\xbb\xbf"


def read_json_lines(file: IO[bytes], path: Path, stream: StreamDefinition, batch: int) -> Iterator[Rows]:
    """Read JSON Lines; skip empty lines."""
    codec = StreamCodec(stream)
    lines = enumerate(text_lines(file, max(MAX_LINE, 2 * stream.max_bytes)), 1)
    while part := take(lines, batch, _length):
        rows = Rows()
        for number, line in part:
            event = line.removeprefix(_BOM).strip() if number == 1 else line.strip()
            if event:
                _add(rows, codec, event, path=path, number=number)
        if rows:
            yield rows


def _add(rows: Rows, codec: StreamCodec, event: bytes, *, path: Path, number: int) -> None:
    try:
        rows.add(*codec.sendable(event), number)
    except InvalidEvent as error:
        rows.add(event, None, number)
        rows.faults.append(Fault(path, number, error.detached()))


def _length(line: tuple[int, bytes]) -> int:
    return len(line[1])
