"""Times as they leave a process: in µs since the epoch, or a word, or nothing; no number stands for something else."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from headrace.frontier import ENDED, RESTING, UNKNOWN
from headrace.wording import FIRST_TIME


class Rest(StrEnum):
    """Why nobody has to wait for a source."""

    IDLE = "idle"
    ENDED = "ended"


#: None: nothing is known.
WireTime: TypeAlias = int | Rest | None

_OUT: dict[int, WireTime] = {UNKNOWN: None, RESTING: Rest.IDLE, ENDED: Rest.ENDED}
_IN = {Rest.IDLE: RESTING, Rest.ENDED: ENDED}


def to_wire(time: int) -> WireTime:
    """A time, or a number of `headrace.frontier`, as it is written.

    Examples
    --------
    >>> to_wire(7), to_wire(UNKNOWN), to_wire(ENDED)
    (7, None, <Rest.ENDED: 'ended'>)
    """
    return _OUT.get(time, time)


def told(time: int | None) -> WireTime:
    """A time for those outside, as `to_wire`: None also before any calendar, which is unknown less some span.

    Examples
    --------
    >>> told(UNKNOWN - 1_000_000), told(7)
    (None, 7)
    """
    return None if time is None or time < FIRST_TIME else to_wire(time)


def from_wire(time: WireTime) -> int:
    """The inverse of `to_wire`."""
    if time is None:
        return UNKNOWN
    return _IN[time] if isinstance(time, Rest) else time
