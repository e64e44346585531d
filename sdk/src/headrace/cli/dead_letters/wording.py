"""The display of a dead letter."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from headrace.wording import format_time, printable

if TYPE_CHECKING:
    from headrace.runtime.pulsar.dead_letters import StoredDeadLetter


def plain(letter: StoredDeadLetter) -> dict[str, object]:
    """Return a dead letter as JSON values; unknown ones are null."""
    from headrace.runtime.pulsar.dead_letters import format_position

    message, origin = letter.message, letter.stood
    return {
        "position": format_position(letter.position),
        "retried": letter.retried,
        "stream": message.stream,
        "field": message.field,
        "value": message.value,
        "expected": message.expected,
        "service": message.service,
        "refused_at": _time(message.refused_at),
        "topic": message.topic or None,
        "stood": None if origin is None else format_position(origin),
        "event": _event(message.event),
    }


def line(letter: StoredDeadLetter) -> str:
    """Format a dead letter in one line."""
    from headrace.runtime.pulsar.dead_letters import format_position

    message = letter.message
    source = f"{message.service or '?'}  {message.stream or '?'}"
    retry = f"  (retried: {letter.retried})" if letter.retried else ""
    return printable(
        f"{format_position(letter.position)}  {_time(message.refused_at)}  {source}: {reason(letter)}{retry}"
    )


def page(letter: StoredDeadLetter) -> str:
    """Format a dead letter, one line per field."""
    fields = plain(letter) | {"retried": letter.retried or "no"}
    if letter.stood is None:
        del fields["topic"]
        fields["stood"] = "on no topic: refused on its way in"
        fields["event"] = fields.pop("event")
    return "\n".join(printable(f"{name:<10} {_value_text(value)}") for name, value in fields.items())


def reason(letter: StoredDeadLetter) -> str:
    """Describe why it was refused."""
    message = letter.message
    subject = f"field {message.field} is {message.value}" if message.field else f"the event is {message.value}"
    return f"{subject}, expected {message.expected}"


def _value_text(value: object) -> str:
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
