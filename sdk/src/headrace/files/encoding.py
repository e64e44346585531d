"""From a table's columns to events as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headrace.definition import StreamDefinition
from headrace.errors import InvalidEvent
from headrace.files.rows import Fault, Rows
from headrace.files.values import Column

_encode = msgspec.json.Encoder().encode


def encode_columns(
    stream: StreamDefinition,
    columns: Mapping[str, Column],
    lines: Sequence[int],
    path: Path,
    raw: Callable[[int], bytes],
) -> Rows:
    """Events from columns of equal length.

    Parameters
    ----------
    raw
        The text of a row, for what cannot be JSON.
    """
    faults: dict[int, InvalidEvent] = {}
    for _, wrong in columns.values():
        faults = wrong | faults  # the first field's counts
    names = list(columns)
    events = [
        _event(names, values, index, faults, raw)
        for index, values in enumerate(zip(*(values for values, _ in columns.values()), strict=True))
    ]
    times, untimed = columns[stream.time]
    rows = Rows(events, [None if index in untimed else time for index, time in enumerate(times)], list(lines))
    rows.faults = [Fault(path, lines[index], faults[index]) for index in sorted(faults)]
    return rows


def _event(
    names: list[str], values: tuple[Any, ...], index: int, faults: dict[int, InvalidEvent], raw: Callable[[int], bytes]
) -> bytes:
    event = dict(zip(names, values, strict=True))
    if index in faults:
        # A cell that is empty in the file is absent from the event, so that the reason names it as missing.
        event = {name: value for name, value in event.items() if value is not None and value != ""}
    try:
        return _encode(event)
    except (UnicodeEncodeError, TypeError, ValueError) as error:
        faults.setdefault(index, InvalidEvent("", f"not decodable ({type(error).__name__})", "text in UTF-8"))
        return raw(index)
