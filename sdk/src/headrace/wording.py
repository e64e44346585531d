"""Formatting of times, durations, counts and untrusted text for display; internal.

No function here raises, whatever its input: a program must not fail because of what it displays.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Each unit in seconds, with the unit below it.
_UNITS = (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1))


#: The first and the last second of the calendar (µs since the epoch): times before and after it are sentinels.
FIRST_TIME, LAST_TIME = -62_135_596_800_000_000, 253_402_300_799_000_000

#: Maximum number of characters of a name or a value in a message; the rest is cut.
NAME_LENGTH = 100

#: Maximum number of characters of a value in an error.
VALUE_LENGTH = 80

_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Everything except printable ASCII; `_visible` lets printable characters of other scripts through.
_SUSPECT = re.compile(r"[^\x20-\x7e]")


def format_time(time: float | None, *, short: bool = False) -> str:
    """Format a time (µs since the epoch) as ISO 8601 in UTC; if it is outside the calendar, as a number.

    Parameters
    ----------
    short
        Omit the zone and fractions of a second: ``2013-01-01 11:00:00``.

    Examples
    --------
    >>> format_time(1_357_038_000_000_000), format_time(2**62)
    ('2013-01-01T11:00:00Z', '4611686018427387904')
    >>> format_time(1_357_038_000_000_000, short=True), format_time(float("nan")), format_time(None)
    ('2013-01-01 11:00:00', 'nan', '')
    """
    if time is None:
        return ""
    try:
        moment = _EPOCH + timedelta(microseconds=time)
    except (OverflowError, ValueError, TypeError):
        return shown(time)
    if short:
        return moment.replace(tzinfo=None).isoformat(" ", "seconds")
    return moment.isoformat().replace("+00:00", "Z")


def microseconds(moment: datetime) -> int:
    """Return a datetime in µs since the epoch; without a zone it is UTC.

    Examples
    --------
    >>> microseconds(datetime(2013, 1, 1, 11))
    1357038000000000
    """
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def format_span(seconds: float) -> str:
    """Format a duration in its two largest units.

    Examples
    --------
    >>> format_span(3.25), format_span(79_680), format_span(841_716.8), format_span(7_200)
    ('3.2 s', '22h08m', '9d17h', '2h')
    """
    if not math.isfinite(seconds):
        return f"{seconds} s"
    total = int(seconds)
    for unit, size, lower, part in _UNITS:
        if total >= size:
            rest = total % size // part
            return f"{total // size}{unit}" + (f"{rest:02}{lower}" if rest else "")
    return f"{seconds:,.1f} s"


def counted(number: int, noun: str) -> str:
    """Format a number of things.

    Examples
    --------
    >>> counted(1, "vector"), counted(6_544, "vector")
    ('1 vector', '6,544 vectors')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def takeover_text(answering: str, learned: int, needed: int) -> str:
    """Describe how far a changed model is.

    Examples
    --------
    >>> takeover_text("a1b2", 1_200, 50_000)
    'new definition: 1,200 of 50,000 examples, a1b2 answers meanwhile'
    """
    return f"new definition: {learned:,} of {counted(needed, 'example')}, {answering} answers meanwhile"


def printable(text: object, keep: str = "") -> str:
    """Replace control, bidirectional and other invisible characters by their escapes, which are those of JSON.

    Foreign text (ids, file contents, topic names, exceptions) could otherwise move a terminal's cursor, change its
    title, or display characters in another order than they are stored.

    Parameters
    ----------
    keep
        Characters that are not replaced.

    Examples
    --------
    >>> print(printable("a\\x1b[2Jb\\u202ec\\nd"), printable("a\\nb", keep="\\n") == "a\\nb")
    a\\u001b[2Jb\\u202ec\\nd True
    """
    return _SUSPECT.sub(lambda match: match[0] if match[0] in keep else _visible(match[0]), str(text))


def shown(value: object, length: int = NAME_LENGTH) -> str:
    """Return a value as text that can be echoed: printable, and cut.

    Examples
    --------
    >>> shown("x" * 1_000, 4)
    'xxxx…'
    """
    # Cut first, so that escaping the rest costs nothing.
    text = str(value)[: length + 1]
    return printable(text) if len(text) <= length else f"{printable(text[:length])}…"


def as_json(value: object) -> str:
    """Return a value as JSON that can be echoed, other scripts unescaped; characters that UTF-8 lacks stay escaped.

    Examples
    --------
    >>> as_json("späte"), as_json([1, None])
    ('"späte"', '[1, null]')
    """
    text = json.dumps(value, ensure_ascii=False, default=str).encode(errors="backslashreplace").decode()
    return printable(cut(text))


def cut(text: str, limit: int = VALUE_LENGTH) -> str:
    """Return at most `limit` characters of a text."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def quoted(name: object, length: int = NAME_LENGTH) -> str:
    """Return a name in quotes, as text that can be echoed.

    Examples
    --------
    >>> quoted("Stream")
    "'Stream'"
    """
    return f"'{shown(name, length)}'"


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """Suggest the known name that was probably meant; empty if there is none.

    Examples
    --------
    >>> did_you_mean("Strem", ["Stream", "View"]), did_you_mean("x", ["Stream"])
    ("Did you mean 'Stream'?", '')
    """
    text = str(name)
    close = difflib.get_close_matches(text, names, n=1) if len(text) <= NAME_LENGTH else []
    return f"Did you mean {quoted(close[0])}?" if close else ""


def instead_of(name: str, choices: Iterable[str], kind: str) -> str:
    """Return the cure for an unknown name: the one that was probably meant, or all that exist.

    Examples
    --------
    >>> instead_of("x", ["flight", "at"], "fields"), instead_of("x", [], "fields")
    ('Use one of its fields: flight, at.', 'There are no fields.')
    """
    names = list(choices)
    if hint := did_you_mean(name, names):
        return hint
    return f"Use one of its {kind}: {', '.join(names)}." if names else f"There are no {kind}."


def public_address(url: str) -> str:
    """Return a server's URL without user, password and options.

    Examples
    --------
    >>> public_address("redis://me:secret@store:6379/0?timeout=1"), public_address("pulsar://a:1,b:2")
    ('redis://store:6379/0', 'pulsar://a:1,b:2')
    """
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2].partition('?')[0]}"


def _visible(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    code = ord(character)
    return _SHORT_ESCAPES.get(character) or (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
