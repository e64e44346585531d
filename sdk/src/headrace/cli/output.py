"""The only way to a terminal: commands write through it, without control characters from foreign text."""

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
    """Write text that may contain foreign text as one line, whatever it contains."""
    click.echo(printable(text), err=err)


def say_bytes(data: bytes) -> None:
    """Write UTF-8 text to standard output, unchanged unless that is a terminal."""
    if sys.stdout.isatty():
        say(data.decode(errors="replace"), nl=False)
    else:
        click.echo(data, nl=False)


def cell(text: str, style: str = "") -> Text:
    """Return text that rich shows as it is: markup in it has no effect."""
    from rich.text import Text

    return Text(printable(text, keep="\n"), style=style)


def take_any_text() -> None:
    """Make the streams of this process replace characters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")
