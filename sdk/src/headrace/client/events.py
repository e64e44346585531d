"""Events as clients send them: JSON, in requests of a bounded size; internal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from headrace.client import arguments
from headrace.declare import Stream, event_json, stream_name
from headrace.errors import InvalidEvent

#: An event: a record of its stream, its fields, or a JSON object.
Event = bytes | str | Mapping[str, Any] | Stream

#: A stream: its name, or its class.
StreamLike = str | type[Stream]

#: Bytes and events of one request: services accept 16 MiB.
_REQUEST_BYTES = 4 * 2**20


def encode(event: Event) -> bytes:
    """Return an event as a JSON object.

    Raises
    ------
    InvalidEvent
        A field has a value that JSON cannot express.
    """
    if isinstance(event, bytes):
        return event
    if isinstance(event, Stream):
        return event_json(event)
    if isinstance(event, str):
        return event.encode()
    try:
        numbers = _not_finite(event) if isinstance(event, Mapping) else {}
        return msgspec.json.encode({**event, **numbers} if numbers else event)
    except TypeError:
        raise _wrong_value(event) from None


def _not_finite(event: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    """Return NaN and infinities as JSON that the service can name: otherwise they would become null."""
    numbers = {name: value for name, value in event.items() if isinstance(value, float) and not math.isfinite(value)}
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in numbers.items()}


def _wrong_value(event: Mapping[str, Any]) -> InvalidEvent:
    """Name the first field whose value JSON cannot express."""
    expected = "a value that JSON can express, such as float(value)"
    for name, value in event.items():
        try:
            msgspec.json.encode(value)
        except TypeError:
            return InvalidEvent(str(name), f"of type {type(value).__name__}", expected)
    return InvalidEvent("", f"of type {type(event).__name__}", "a mapping of names to values")


def name_of(stream: StreamLike) -> str:
    """Return the name of a stream."""
    if isinstance(stream, type) and issubclass(stream, Stream):
        return stream_name(stream)
    return arguments.text("stream", stream, "the name of a stream, or its class")


def runs(sizes: Iterable[int], most: int) -> Iterator[slice]:
    """Split a sequence of things to send into runs of a bounded size: yield the place of each.

    Parameters
    ----------
    sizes
        Their sizes in bytes.
    most
        How many one run may have.

    Examples
    --------
    >>> list(runs([1, 1, 1], 2))
    [slice(0, 2, None), slice(2, 3, None)]
    >>> list(runs([0], 2)), list(runs([], 2))
    ([slice(0, 1, None)], [])
    """
    start = index = total = 0
    for index, size in enumerate(sizes, 1):
        if total and (total + size > _REQUEST_BYTES or index - start > most):
            yield slice(start, index - 1)
            start, total = index - 1, 0
        total += size
    if start < index:
        yield slice(start, index)
