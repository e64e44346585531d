"""Shared code of the commands on dead letters: find those of a running loop, and parse a position."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

from headrace.cli.running_target import Target, broker_of, loop_options
from headrace.cli.sending import definition_of
from headrace.errors import UnknownName

if TYPE_CHECKING:
    from headrace.runtime.pulsar.dead_letters import DeadLetterLog
    from headrace.wire.position import Position

_Command = TypeVar("_Command", bound=Callable[..., object])


def dead_letter_options(command: _Command) -> _Command:
    """Add the options that select a loop's dead letters: those of `loop_options`, and `--pulsar`."""
    pulsar = click.option(
        "--pulsar", metavar="URL", help="The loop's broker, if the loop does not run on this machine."
    )
    return pulsar(loop_options(command))


@contextmanager
def open_log(target: Target, pulsar: str | None) -> Iterator[DeadLetterLog]:
    """Open the dead letters of a loop."""
    from headrace.runtime.pulsar.dead_letters import DeadLetterLog
    from headrace.wire.topics import Topics

    with broker_of(target, pulsar) as (client, namespace):
        yield DeadLetterLog(client, Topics(target.loop, namespace))


def position_of(text: str) -> Position:
    """Parse the position that a caller gives.

    Raises
    ------
    UnknownName
        It is not a position.
    """
    from headrace.runtime.pulsar.dead_letters import parse_position

    try:
        return parse_position(text)
    except ValueError:
        raise unknown(text) from None


def unknown(position: str) -> UnknownName:
    """Return the error for a position without a dead letter."""
    return UnknownName("position", position, ("those of `headrace dead-letters list`",))


def check_stream(stream: str | None, target: Target) -> None:
    """Refuse a misspelt stream, which has no dead letters either; the streams of a remote loop are unknown here."""
    if stream is None or target.data is None:
        return
    names = tuple(entry.name for entry in definition_of(target, None).streams)
    if stream not in names:
        raise UnknownName("stream", stream, names)
