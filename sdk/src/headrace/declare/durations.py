"""Durations in the form that users write; internally they are microseconds."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Literal, TypeAlias

#: A duration as users write it.
Duration: TypeAlias = str | timedelta

#: How long the broker keeps a topic.
Retention: TypeAlias = Duration | Literal["forever"]

#: The length of each unit in µs, longest first.
UNITS = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}

#: The cure for a value that is not a duration.
EXAMPLES = 'Write a whole number and a unit (us, ms, s, m, h, d, w), such as "15m", "3h" or "1h30m".'

#: Longer durations would overflow 64 bits when added to times; besides, no stream is kept for ten thousand years.
LONGEST = 520_000 * UNITS["w"]

_PART = re.compile(r"(\d+)(us|ms|s|m|h|d|w)", re.ASCII)
_WHOLE = re.compile(r"(?:\d+(?:us|ms|s|m|h|d|w))+", re.ASCII)


def parse_duration(value: object) -> int:
    """Return the microseconds of a duration such as ``"250ms"``, ``"3h"``, ``"1h30m"``, or of a timedelta.

    Raises
    ------
    ValueError
        It is not a duration.

    Examples
    --------
    >>> parse_duration("1h30m")
    5400000000
    """
    if isinstance(value, timedelta):
        duration = value // timedelta(microseconds=1)
    elif isinstance(value, str) and _WHOLE.fullmatch(value):
        duration = sum(int(number) * UNITS[unit] for number, unit in _PART.findall(value))
    else:
        raise ValueError(f"{value!r} is no duration")
    if not 0 <= duration <= LONGEST:
        raise ValueError(f"{value!r} is {'negative' if duration < 0 else 'too long'}")
    return duration


def format_duration(duration: int) -> str:
    """Return the shortest text that `parse_duration` reads as this many microseconds.

    Examples
    --------
    >>> format_duration(5_400_000_000)
    '1h30m'
    """
    parts = []
    for unit, size in UNITS.items():
        # Use weeks only if that is not longer than days: "14d" and "2w" are equally long, "1w1d" is longer than "8d".
        if unit == "w" and duration % size:
            continue
        number, duration = divmod(duration, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"
