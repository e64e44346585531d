"""How values, times, spans of time and counts are told to people."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Each unit in seconds, beside the one below it.
_UNITS = (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1))


#: Characters of a value that an error shows.
_SHOWN = 80


def shown(value: object) -> str:
    """A value as JSON, in its own characters, cut; half a surrogate pair, which no text can hold, stays escaped.

    Examples
    --------
    >>> shown("späte"), shown([1, None])
    ('"späte"', '[1, null]')
    """
    return cut(json.dumps(value, ensure_ascii=False, default=str).encode(errors="backslashreplace").decode())


def cut(text: str, limit: int = _SHOWN) -> str:
    """A text of at most so many characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def format_time(time: int) -> str:
    """A time (µs since the epoch) as ISO 8601 in UTC; one that no calendar has stays a number.

    Examples
    --------
    >>> format_time(1_357_038_000_000_000), format_time(2**62)
    ('2013-01-01T11:00:00Z', '4611686018427387904')
    """
    try:
        moment = _EPOCH + timedelta(microseconds=time)
    except OverflowError:
        return str(time)
    return moment.isoformat().replace("+00:00", "Z")


def microseconds(moment: datetime) -> int:
    """A datetime in µs since the epoch; without a zone it is UTC.

    Examples
    --------
    >>> microseconds(datetime(2013, 1, 1, 11))
    1357038000000000
    """
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def format_span(seconds: float) -> str:
    """How long something is, in its two greatest units.

    Examples
    --------
    >>> format_span(3.25), format_span(79_680), format_span(841_716.8), format_span(7_200)
    ('3.2 s', '22h08m', '9d17h', '2h')
    """
    whole = int(seconds)
    for unit, size, lower, part in _UNITS:
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size}{unit}" + (f"{rest:02}{lower}" if rest else "")
    return f"{seconds:,.1f} s"


def counted(number: int, noun: str) -> str:
    """A number of things.

    Examples
    --------
    >>> counted(1, "vector"), counted(6_544, "vector")
    ('1 vector', '6,544 vectors')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def takeover_text(answering: str, learned: int, needed: int) -> str:
    """How far a changed model is.

    Examples
    --------
    >>> takeover_text("a1b2", 1_200, 50_000)
    'new definition: 1,200 of 50,000 examples, a1b2 answers meanwhile'
    """
    return f"new definition: {learned:,} of {counted(needed, 'example')}, {answering} answers meanwhile"
