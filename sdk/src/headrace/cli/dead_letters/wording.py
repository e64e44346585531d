"""The display of a dead letter."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from headrace.wording import format_time, printable

if TYPE_CHECKING:
    from headrace.log.letters import Letter


def plain(own: Letter) -> dict[str, object]:
    """Return a whole letter as JSON values; unknown ones are null."""
    from headrace.log.letters import format_position

    letter, stood = own.letter, own.stood
    return {
        "position": format_position(own.position),
        "retried": own.retried,
        "stream": letter.stream,
        "field": letter.field,
        "value": letter.value,
        "expected": letter.expected,
        "service": letter.service,
        "refused_at": _time(letter.refused_at),
        "topic": letter.topic or None,
        "stood": None if stood is None else format_position(stood),
        "event": _event(letter.event),
    }


def line(own: Letter) -> str:
    """Format a letter in one line."""
    from headrace.log.letters import format_position

    letter = own.letter
    who = f"{letter.service or '?'}  {letter.stream or '?'}"
    retried = f"  (retried: {own.retried})" if own.retried else ""
    return printable(f"{format_position(own.position)}  {_time(letter.refused_at)}  {who}: {reason(own)}{retried}")


def page(own: Letter) -> str:
    """Format a whole letter, one line per field."""
    told = plain(own) | {"retried": own.retried or "no"}
    if own.stood is None:
        del told["topic"]
        told["stood"] = "on no topic: refused on its way in"
        told["event"] = told.pop("event")
    return "\n".join(printable(f"{name:<10} {_shown(value)}") for name, value in told.items())


def reason(own: Letter) -> str:
    """Describe why it was refused."""
    letter = own.letter
    what = f"field {letter.field} is {letter.value}" if letter.field else f"the event is {letter.value}"
    return f"{what}, expected {letter.expected}"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _time(microseconds: int) -> str:
    return format_time(microseconds)


def _event(event: bytes) -> object:
    """Return the event as JSON if it is JSON, as text if it is text, otherwise in base64."""
    try:
        text = event.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(event).decode()}
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
