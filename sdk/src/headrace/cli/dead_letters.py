"""``headrace dead-letters``."""

from __future__ import annotations

import base64
import json
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.sending import definition_of
from headrace.cli.target import find, loop_options
from headrace.errors import UnknownName

if TYPE_CHECKING:
    from headrace.log.consume import LogReader
    from headrace.v1 import dead_letter_pb2

# The broker has nothing more when nothing comes for so long.
_END_MS = 1_000


@click.group("dead-letters")
def command() -> None:
    """See the events that could not be processed, and why.

    \b
    Examples:
      headrace dead-letters list --stream arrived
      headrace dead-letters show 0:12:0
    """


@dataclass(frozen=True)
class _Letter:
    position: str
    letter: dead_letter_pb2.DeadLetter

    def plain(self) -> dict[str, object]:
        own = self.letter
        return {
            "position": self.position,
            "stream": own.stream,
            "field": own.field,
            "value": own.value,
            "expected": own.expected,
            "service": own.service,
            "refused_at": _time(own.refused_at),
            "topic": own.topic,
            "event": _event(own.event),
        }


@command.command("list")
@click.option("--stream", help="Only those of this stream.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="Only the newest so many.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON each.")
@click.option("--pulsar", metavar="URL", help="Its broker, if it does not run on this machine.")
@loop_options
def list_letters(
    stream: str | None,
    limit: int,
    as_json: bool,
    pulsar: str | None,
    loop: str | None,
    data: Path | None,
    redis: str | None,
) -> None:
    """List dead letters, the oldest first.

    \b
    Example:
      headrace dead-letters list --limit 5
    """
    with _letters(loop, data, redis, pulsar) as letters:
        newest = deque((own for own in letters if stream in (None, own.letter.stream)), maxlen=limit)
    for own in newest:
        click.echo(json.dumps(own.plain()) if as_json else _line(own))
    if not newest and not as_json:
        _check_stream(stream, loop, data, redis)
        click.echo("no dead letters", err=True)


@command.command("show")
@click.argument("position")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.option("--pulsar", metavar="URL", help="Its broker, if it does not run on this machine.")
@loop_options
def show_letter(
    position: str,
    as_json: bool,
    pulsar: str | None,
    loop: str | None,
    data: Path | None,
    redis: str | None,
) -> None:
    """Show the dead letter at POSITION (as `list` prints it), with its event.

    \b
    Example:
      headrace dead-letters show 0:12:0
    """
    with _letters(loop, data, redis, pulsar) as letters:
        found = next((own for own in letters if own.position == position), None)
    if found is None:
        raise UnknownName("position", position, ("those of `headrace dead-letters list`",))
    plain = found.plain()
    click.echo(json.dumps(plain) if as_json else "\n".join(f"{name:<10} {_shown(plain[name])}" for name in plain))


def _check_stream(stream: str | None, loop: str | None, data: Path | None, redis: str | None) -> None:
    """A misspelt stream has no dead letters either; what a loop elsewhere declares is not known here."""
    target = find(loop, data, redis)
    if stream is None or target.data is None:
        return
    known = tuple(own.name for own in definition_of(target, None).streams)
    if stream not in known:
        raise UnknownName("stream", stream, known)


@contextmanager
def _letters(loop: str | None, data: Path | None, redis: str | None, pulsar: str | None) -> Iterator[Iterator[_Letter]]:
    """All dead letters that the broker still has, in order."""
    from headrace.log.connection import connect, partitions
    from headrace.log.consume import LogReader
    from headrace.log.topics import Topics
    from headrace.settings import ServiceSettings

    target = find(loop, data, redis)
    broker = pulsar or target.pulsar
    if broker is None:
        raise click.UsageError("a loop that is found by --redis needs --pulsar too")
    found: dict[str, Any] = {"loop": Path(os.devnull), "pulsar_url": broker}
    if target.namespace:
        found["namespace"] = target.namespace
    settings = ServiceSettings(**found)  # and from the environment the token, and what is not known
    topic = Topics(target.loop, settings.namespace).dead_letters
    client = connect(settings)
    try:
        yield chain.from_iterable(_read(LogReader(client, physical)) for physical in partitions(client, topic))
    finally:
        client.close()


def _read(reader: LogReader) -> Iterator[_Letter]:
    from headrace.v1.dead_letter_pb2 import DeadLetter

    while batch := reader.receive(max_messages=1_000, timeout_ms=_END_MS):
        for position, payload in zip(batch.positions, batch.payloads, strict=True):
            yield _Letter(":".join(map(str, position)), DeadLetter.FromString(payload))
    reader.close()


def _line(own: _Letter) -> str:
    letter = own.letter
    what = f"field {letter.field} is {letter.value}" if letter.field else f"the event is {letter.value}"
    who = f"{letter.service}  {letter.stream}"
    return f"{own.position}  {_time(letter.refused_at)}  {who}: {what}, expected {letter.expected}"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="milliseconds")


def _event(event: bytes) -> object:
    """The event as JSON if it is that, as text if it is that, else in base64."""
    try:
        text = event.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(event).decode()}
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
