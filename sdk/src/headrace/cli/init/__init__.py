"""``headrace init``: a loop file for an existing table of the user; internal."""

from headrace.cli.init.command import command

__all__ = ["command"]
