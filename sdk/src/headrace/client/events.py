"""Events as clients send them: JSON, in requests of a bounded size; internal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

#: An event: its fields, or a JSON object.
Event = bytes | str | Mapping[str, Any]

#: Bytes and events of one request: services accept 16 MiB.
_REQUEST_BYTES = 4 * 2**20


def encode(event: Event) -> bytes:
    """Return an event as a JSON object."""
    if isinstance(event, bytes):
        return event
    return event.encode() if isinstance(event, str) else msgspec.json.encode(event)


def runs(events: Sequence[bytes], most: int) -> Iterator[slice]:
    """Split encoded events into runs of a bounded size: yield the place of each.

    Parameters
    ----------
    most
        Events of one run.

    Examples
    --------
    >>> list(runs([b"a", b"b", b"c"], 2))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    start = size = 0
    for index, event in enumerate(events):
        if size and (size + len(event) > _REQUEST_BYTES or index - start >= most):
            yield slice(start, index)
            start, size = index, 0
        size += len(event)
    if start < len(events):
        yield slice(start, len(events))
