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
    from headrace.runtime.pulsar.dead_letters import StoredDeadLetter

Fields = dict[str, Any]


def fields_of(settings: Sequence[str]) -> Fields:
    """Parse ``FIELD=VALUE`` settings: a value is JSON if it can be parsed as JSON, otherwise text."""
    fields: Fields = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--set {setting}: expected FIELD=VALUE")
        try:
            fields[name] = json.loads(text)
        except (ValueError, RecursionError):
            fields[name] = text
    return fields


def check_fields(letter: StoredDeadLetter, fields: Fields, loop: LoopDefinition | None) -> None:
    """Refuse to set a field that the letter's stream lacks; the streams of a remote loop are unknown here.

    Raises
    ------
    InvalidRequest
        The stream has no such field.
    """
    from headrace.wording import instead_of

    streams = {} if loop is None else {stream.name: stream for stream in loop.streams}
    stream = streams.get(letter.message.stream)
    names = [field.name for field in stream.fields] if stream else list(fields)
    for name in fields:
        if name not in names:
            cure = instead_of(name, names, "fields")
            raise InvalidRequest("--set", name, f"a field of stream {letter.message.stream}. {cure}")


def as_sent(letter: StoredDeadLetter, loop: LoopDefinition | None) -> StoredDeadLetter:
    """Convert times of a letter from a topic, where they are µs, if ingest expects another unit for the stream."""
    from headrace.definition import FieldType
    from headrace.engine.events.timestamps import counts_micros
    from headrace.wording import format_time

    streams = {} if loop is None else {stream.name: stream for stream in loop.streams}
    stream = streams.get(letter.message.stream)
    if stream is None or letter.message.service == "ingest" or counts_micros(stream.time_format):
        return letter
    times = [field.name for field in stream.fields if field.type is FieldType.TIME]
    try:
        fields = _object(letter.message.event)
    except InvalidRequest:
        return letter
    texts = {name: format_time(fields[name]) for name in times if isinstance(fields.get(name), int)}
    return edited(letter, texts, None)


def edited(letter: StoredDeadLetter, fields: Fields, event: str | None) -> StoredDeadLetter:
    """Return a letter with its event, or some of its fields, replaced.

    Raises
    ------
    InvalidRequest
        Fields are to be set, and the event is not a JSON object.
    """
    from headrace.v1.dead_letter_pb2 import DeadLetter

    if not fields and event is None:
        return letter
    message = DeadLetter()
    message.CopyFrom(letter.message)
    message.event = message.event if event is None else event.encode()
    if fields:
        message.event = json.dumps(_object(message.event) | fields).encode()
    return replace(letter, message=message)


def _object(event: bytes) -> Fields:
    try:
        fields = json.loads(event)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise InvalidRequest("--set", "for an event that is no JSON object", "--event with all of the event")
    return fields
