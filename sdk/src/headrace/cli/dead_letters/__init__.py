"""``headrace dead-letters``; internal."""

from __future__ import annotations

import click

from headrace.cli.dead_letters.listing import list_dead_letters
from headrace.cli.dead_letters.retrying import retry
from headrace.cli.dead_letters.showing import show_dead_letter


@click.group("dead-letters")
def command() -> None:
    """See the events that could not be processed, and why; send them through again.

    \b
    Examples:
      headrace dead-letters list --stream arrived
      headrace dead-letters show 0:12:0
      headrace dead-letters retry 0:12:0
    """


for subcommand in (list_dead_letters, show_dead_letter, retry):
    command.add_command(subcommand)
