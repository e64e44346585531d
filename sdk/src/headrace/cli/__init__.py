"""The command line: one module per command, each loaded only when it is used."""

from headrace.cli.program import main

__all__ = ["main"]
