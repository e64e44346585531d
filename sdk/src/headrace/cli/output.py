"""The one way to a terminal: what commands write, without control characters of others."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TYPE_CHECKING

import click

from headrace.wording import printable

if TYPE_CHECKING:
    from rich.text import Text


def say(text: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Write text to standard output or standard error."""
    click.echo(printable(text, keep="\n\t"), err=err, nl=nl)


def say_line(text: object, *, err: bool = False) -> None:
    """Write text that may hold text of others as one line, whatever is in it."""
    click.echo(printable(text), err=err)


def say_bytes(data: bytes) -> None:
    """Write UTF-8 text to standard output, as it is unless that is a terminal."""
    if sys.stdout.isatty():
        say(data.decode(errors="replace"), nl=False)
    else:
        click.echo(data, nl=False)


def cell(text: str, style: str = "") -> Text:
    """Make text that rich shows as it stands: markup in it means nothing."""
    from rich.text import Text

    return Text(printable(text, keep="\n"), style=style)


def take_any_text() -> None:
    """Let the streams of this process replace what their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")
