"""Decoding of a scoring request's event: only the fields that the model's keys and features need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from headrace.definition import Field, FieldType, StreamDefinition
from headrace.engine.events import EventColumns, StreamCodec
from headrace.engine.events.codec import PYTHON, column_of
from headrace.engine.events.columns import to_floats
from headrace.engine.events.timestamps import counts_micros, in_january_1970

#: The needed fields of one event, then its time (None if the request gives none).
Values = tuple[Any, ...]


class RequestReader:
    """A decoder of the requests of one model.

    The event's time is always optional: a request without one is about now.

    Parameters
    ----------
    stream
        The model's stream.
    needed
        The fields that the model's keys and features are computed from.
    """

    def __init__(self, stream: StreamDefinition, needed: frozenset[str]) -> None:
        self._stream = stream
        self._codec = StreamCodec(stream)
        self._fields = [field for field in stream.fields if field.name in needed and field.name != stream.time]
        self._needed = frozenset(field.name for field in self._fields)
        self._wants_time = stream.time in needed
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(_record(self._fields, stream.time)).decode
        moments = [place for place, field in enumerate(self._fields) if field.type is FieldType.TIME]
        #: Places of times that may be in another unit than declared.
        self._suspects = (*moments, len(self._fields)) if stream.time_format != "us" else ()
        self._counts_micros = counts_micros(stream.time_format)

    def read(self, event: bytes) -> Values:
        """Return the values of one event.

        Raises
        ------
        InvalidEvent
            A needed field is missing or of the wrong type; the error says which, and what was expected.
        """
        if len(event) > self._stream.max_bytes or not self._counts_micros:
            return self._explain(event)
        try:
            # JSON has no NaN, and a number beyond float64 is an error here, so floats are finite.
            values: Values = msgspec.structs.astuple(self._decode(event))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._explain(event)
        return self._explain(event) if any(in_january_1970(values[place]) for place in self._suspects) else values

    @property
    def nothing(self) -> Values:
        """The values of an event in which every field is missing."""
        return (None,) * (len(self._fields) + 1)

    def columns(self, values: Sequence[Values], ids: list[str], now: int) -> EventColumns:
        """Return the events in the form of the kernel; those without a time happen now."""
        times = np.array([now if row[-1] is None else row[-1] for row in values], np.int64)
        fields = {
            field.name: column_of(field, [row[place] for row in values]) for place, field in enumerate(self._fields)
        }
        if self._wants_time:
            fields[self._stream.time] = to_floats(times)
        return EventColumns(times, ids, fields)

    def _explain(self, event: bytes) -> Values:
        """Decode a laxer form (ISO 8601 times), or raise what is wrong."""
        columns = self._codec.request(event, self._needed)
        time = int(columns.times[0]) if self._stream.time in columns.fields else None
        return (*(columns.fields[field.name][0] for field in self._fields), time)


def _record(fields: Sequence[Field], time: str) -> type:
    # Members are named by place, so that a field may have any name.
    names = {f"field_{place}": field.name for place, field in enumerate(fields)}
    members: list[Any] = [
        (name, PYTHON[field.type] | None, None) if field.optional else (name, PYTHON[field.type])
        for name, field in zip(names, fields, strict=True)
    ]
    members.append(("time", PYTHON[FieldType.TIME] | None, None))
    return msgspec.defstruct("Request", members, kw_only=True, gc=False, rename={**names, "time": time})
