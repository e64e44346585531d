"""The command line: one module per command, each loaded only when it is used; internal."""

from __future__ import annotations

import sys

from headrace.errors import MissingExtra
from headrace.extras import load

__all__ = ["main"]


def main() -> None:
    """Run the command given by the process's arguments, and exit."""
    if sys.platform == "win32":
        sys.exit("headrace: the command line runs on Linux, and not on Windows itself: use WSL")
    try:
        program = load("headrace.cli.program", "the command line", "cli")
    except MissingExtra as error:
        sys.exit(f"headrace: {error}")
    program.main()
