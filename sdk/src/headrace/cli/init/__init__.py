"""``headrace init``: a loop file for a table that the user has."""

from headrace.cli.init.command import command

__all__ = ["command"]
