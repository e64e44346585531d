"""Times in the forms that callers write.

Text is ISO 8601, or what the stream's pattern (of `datetime.strptime`) reads. A number counts microseconds since
1970, or the stream's unit. A stream's time format is its pattern, which contains a ``%``, or its unit, or None.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from headrace.definition import Field
from headrace.errors import InvalidEvent
from headrace.wording import as_json

#: The years 1 to 9999, which ISO 8601 can express. Seconds or nanoseconds misread as µs are mostly outside.
MIN_TIME, MAX_TIME = -62_135_596_800_000_000, 253_402_300_799_999_999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Current times in seconds and milliseconds, misread as µs, are in January 1970; so is 20260101.
_JANUARY = 31 * 86_400 * 1_000_000
#: The number of µs in each unit.
_MICROSECONDS = {"s": Decimal(1_000_000), "ms": Decimal(1_000), "us": Decimal(1), "ns": Decimal("0.001")}
UNITS = {"s": "seconds", "ms": "milliseconds", "us": "integer microseconds", "ns": "nanoseconds"}
_SUSPECT = ", not in January 1970: if it counts seconds or milliseconds, declare it, as in Stream(..., time_format="


def counts_micros(form: str | None) -> bool:
    """Return whether a number given as a time counts microseconds."""
    return form not in UNITS or form == "us"


def in_january_1970(time: int | None) -> bool:
    """Return whether a time (µs) is most likely in another unit."""
    return time is not None and -_JANUARY < time < _JANUARY


def read_time(field: Field, value: Any, form: str | None) -> int:
    """Read a time in µs.

    Parameters
    ----------
    value
        Text without a zone is UTC. A number is rounded to the microsecond.
    form
        The time format of the stream. Unless it is a unit, numbers in January 1970 are refused.

    Raises
    ------
    InvalidEvent
        It is not a time in the years 1 to 9999, or is most likely in another unit.
    """
    unit, pattern = (form, None) if form in UNITS else ("us", form)
    text = isinstance(value, str)
    time = _of_text(value, pattern) if text else _of_number(value, unit or "us")
    # A zone can move a time out of the years in which it was written.
    valid = time is not None and MIN_TIME <= time <= MAX_TIME
    if time is None or not valid or (form not in UNITS and not text and in_january_1970(time)):
        expected = f"a time ({pattern or 'ISO 8601'}, or {UNITS[unit or 'us']} since the epoch)"
        expected += ", or null" if field.optional else ""
        expected += f'{_SUSPECT}"{_likely(time)}")' if time is not None and valid else ""
        raise InvalidEvent(field.name, as_json(value), expected)
    return time


def _of_text(text: str, pattern: str | None) -> int | None:
    moment = _moment(text, pattern) if pattern else None
    try:
        moment = moment or datetime.fromisoformat(text)
    except ValueError:
        return None
    # A time without a zone is UTC: a server's own zone must not change the meaning of an event.
    delta = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def _moment(text: str, pattern: str) -> datetime | None:
    try:
        return datetime.strptime(text, pattern)
    except ValueError:
        return None


def _of_number(value: Any, unit: str) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    number = Decimal(value)
    if not number.is_finite() or abs(number) > 10**20:
        return None
    integral = number == number.to_integral_value()
    if not integral and unit == "us":
        return None
    return int((number * _MICROSECONDS[unit]).to_integral_value(ROUND_HALF_EVEN))


def _likely(time: int) -> str:
    """Return the unit that a number is most likely in, if it is a time of our years."""
    return "ms" if abs(time) > 10**11 else "s"
