"""Correction of a dead letter's event before it is sent again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from headrace.errors import InvalidRequest

if TYPE_CHECKING:
    from headrace.definition import LoopDefinition
    from headrace.log.letters import Letter

Fields = dict[str, Any]


def fields_of(settings: Sequence[str]) -> Fields:
    """Parse ``FIELD=VALUE`` settings: a value is JSON if it can be parsed as JSON, otherwise text."""
    found: Fields = {}
    for own in settings:
        name, equals, text = own.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--set {own}: expected FIELD=VALUE")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def check_fields(own: Letter, fields: Fields, loop: LoopDefinition | None) -> None:
    """Refuse to set a field that the letter's stream lacks; the streams of a remote loop are unknown here.

    Raises
    ------
    InvalidRequest
        The stream has no such field.
    """
    from headrace.declare.mistakes import instead_of

    streams = {} if loop is None else {stream.name: stream for stream in loop.streams}
    stream = streams.get(own.letter.stream)
    known = [field.name for field in stream.fields] if stream else list(fields)
    for name in fields:
        if name not in known:
            cure = instead_of(name, known, "fields")
            raise InvalidRequest("--set", name, f"a field of stream {own.letter.stream}. {cure}")


def as_sent(own: Letter, loop: LoopDefinition | None) -> Letter:
    """Convert times of a letter from a topic, where they are µs, if ingest expects another unit for the stream."""
    from headrace.definition import FieldType
    from headrace.events.moments import counts_micros
    from headrace.wording import format_time

    streams = {} if loop is None else {stream.name: stream for stream in loop.streams}
    stream = streams.get(own.letter.stream)
    if stream is None or own.letter.service == "ingest" or counts_micros(stream.time_format):
        return own
    times = [field.name for field in stream.fields if field.type is FieldType.TIME]
    try:
        found = _object(own.letter.event)
    except InvalidRequest:
        return own
    written = {name: format_time(found[name]) for name in times if isinstance(found.get(name), int)}
    return edited(own, written, None)


def edited(own: Letter, fields: Fields, event: str | None) -> Letter:
    """Return a letter with its event, or some of its fields, replaced.

    Raises
    ------
    InvalidRequest
        Fields are to be set, and the event is not a JSON object.
    """
    from headrace.v1.dead_letter_pb2 import DeadLetter

    if not fields and event is None:
        return own
    letter = DeadLetter()
    letter.CopyFrom(own.letter)
    letter.event = letter.event if event is None else event.encode()
    if fields:
        letter.event = json.dumps(_object(letter.event) | fields).encode()
    return replace(own, letter=letter)


def _object(event: bytes) -> Fields:
    try:
        found = json.loads(event)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InvalidRequest("--set", "for an event that is no JSON object", "--event with all of the event")
    return found
