"""Times as they leave a process: in µs since the epoch, a word, or nothing; no number has another meaning."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from headrace.watermark import ENDED, IDLE, UNKNOWN
from headrace.wording import FIRST_TIME


class Inactive(StrEnum):
    """Reasons why nobody waits for a source."""

    IDLE = "idle"
    ENDED = "ended"


#: None means that nothing is known.
WireTime: TypeAlias = int | Inactive | None

_OUT: dict[int, WireTime] = {UNKNOWN: None, IDLE: Inactive.IDLE, ENDED: Inactive.ENDED}
_IN = {Inactive.IDLE: IDLE, Inactive.ENDED: ENDED}


def to_wire(time: int) -> WireTime:
    """Return a time, or a special number of `headrace.watermark`, as it is written.

    Examples
    --------
    >>> to_wire(7), to_wire(UNKNOWN), to_wire(ENDED)
    (7, None, <Inactive.ENDED: 'ended'>)
    """
    return _OUT.get(time, time)


def to_status(time: int | None) -> WireTime:
    """Return a time as a status shows it: as `to_wire` does, but None before the calendar, as for unknown minus a span.

    Examples
    --------
    >>> to_status(UNKNOWN - 1_000_000), to_status(7)
    (None, 7)
    """
    return None if time is None or time < FIRST_TIME else to_wire(time)


def from_wire(time: WireTime) -> int:
    """Return the time that `to_wire` wrote."""
    if time is None:
        return UNKNOWN
    return _IN[time] if isinstance(time, Inactive) else time
