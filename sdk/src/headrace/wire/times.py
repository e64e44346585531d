"""Times as they leave a process: in µs since the epoch, a word, or nothing; no number has another meaning."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from headrace.watermark import ENDED, RESTING, UNKNOWN
from headrace.wording import FIRST_TIME


class Rest(StrEnum):
    """Reasons for not waiting for a source."""

    IDLE = "idle"
    ENDED = "ended"


#: None means that nothing is known.
WireTime: TypeAlias = int | Rest | None

_OUT: dict[int, WireTime] = {UNKNOWN: None, RESTING: Rest.IDLE, ENDED: Rest.ENDED}
_IN = {Rest.IDLE: RESTING, Rest.ENDED: ENDED}


def to_wire(time: int) -> WireTime:
    """Return a time, or a special number of `headrace.watermark`, as it is written.

    Examples
    --------
    >>> to_wire(7), to_wire(UNKNOWN), to_wire(ENDED)
    (7, None, <Rest.ENDED: 'ended'>)
    """
    return _OUT.get(time, time)


def told(time: int | None) -> WireTime:
    """Return a time for readers outside, as `to_wire` does: None also before any calendar, as for unknown minus a span.

    Examples
    --------
    >>> told(UNKNOWN - 1_000_000), told(7)
    (None, 7)
    """
    return None if time is None or time < FIRST_TIME else to_wire(time)


def from_wire(time: WireTime) -> int:
    """Return the time that `to_wire` wrote."""
    if time is None:
        return UNKNOWN
    return _IN[time] if isinstance(time, Rest) else time
