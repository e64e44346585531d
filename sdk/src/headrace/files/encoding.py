"""Encoding of a table's columns as events in JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headrace.definition import FieldType, StreamDefinition
from headrace.engine.events.codec import empty_id
from headrace.engine.events.timestamps import counts_micros, in_january_1970
from headrace.errors import InvalidEvent, all_of
from headrace.files.rows import Fault, Rows
from headrace.files.values import Column
from headrace.wording import as_json, format_time

_encode = msgspec.json.Encoder().encode


def encode_columns(
    stream: StreamDefinition,
    columns: Mapping[str, Column],
    lines: Sequence[int],
    path: Path,
    *,
    raw: Callable[[int], bytes],
) -> Rows:
    """Encode columns of equal length as events.

    Parameters
    ----------
    raw
        Returns the text of a row, for values that cannot be JSON.
    """
    errors_by_row: dict[int, list[InvalidEvent]] = {}
    for _, faulty in (*columns.values(), ([], _empty_ids(stream, columns))):
        for index, error in faulty.items():
            errors_by_row.setdefault(index, []).append(error)
    faults = {index: all_of(errors) for index, errors in errors_by_row.items()}
    names = list(columns)
    cells = [_as_sent(stream, name, column) for name, column in columns.items()]
    events = [_event(names, values, index, faults, raw=raw) for index, values in enumerate(zip(*cells, strict=True))]
    times, untimed = columns[stream.time]
    rows = Rows(events, [None if index in untimed else time for index, time in enumerate(times)], list(lines))
    rows.faults = [Fault(path, lines[index], faults[index]) for index in sorted(faults)]
    return rows


def _empty_ids(stream: StreamDefinition, columns: Mapping[str, Column]) -> dict[int, InvalidEvent]:
    values, faults = columns.get(stream.id, ([], {}))
    if "" not in values:
        return {}
    return {index: empty_id(stream.id) for index, value in enumerate(values) if value == "" and index not in faults}


def _as_sent(stream: StreamDefinition, name: str, column: Column) -> list[Any]:
    """Return a column's values as ingest reads them: times that it would misread as µs become ISO 8601."""
    values, faults = column
    if stream.time_format == "us" or stream.field(name).type is not FieldType.TIME:
        return values
    return [
        format_time(value) if index not in faults and _is_ambiguous(stream, value) else value
        for index, value in enumerate(values)
    ]


def _is_ambiguous(stream: StreamDefinition, time: int | None) -> bool:
    return time is not None and (not counts_micros(stream.time_format) or in_january_1970(time))


def _event(
    names: list[str],
    values: tuple[Any, ...],
    index: int,
    faults: dict[int, InvalidEvent],
    *,
    raw: Callable[[int], bytes],
) -> bytes:
    event = dict(zip(names, values, strict=True))
    if index in faults:
        # An empty cell is absent from the event, so that the reason calls the field missing.
        event = {name: value for name, value in event.items() if value is not None and value != ""}
    try:
        return _encode(event)
    except (UnicodeEncodeError, TypeError, ValueError) as error:
        faults.setdefault(index, _undecodable(event, error))
        return raw(index)


def _undecodable(event: Mapping[str, Any], error: Exception) -> InvalidEvent:
    """Return the error of an event that JSON cannot hold: of its first text that is not UTF-8, if it has one."""
    for name, value in event.items():
        try:
            str(value).encode()
        except UnicodeEncodeError:
            shown = as_json(value.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
            return InvalidEvent(
                name, shown, "text in UTF-8: iconv -f ISO-8859-1 -t UTF-8 converts a file of ISO 8859-1"
            )
    return InvalidEvent("", f"not decodable ({type(error).__name__})", "text in UTF-8")
