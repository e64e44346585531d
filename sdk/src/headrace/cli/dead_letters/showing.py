"""``headrace dead-letters show``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from headrace.cli.dead_letters.box import letter_options, open_box, position_of, unknown
from headrace.cli.dead_letters.wording import page, plain
from headrace.cli.output import say
from headrace.cli.running_target import find


@click.command("show")
@click.argument("position")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@letter_options
def show_letter(
    *,
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
    letter_position = position_of(position)
    with open_box(find(loop, data, redis), pulsar) as box:
        letter = next((letter for letter in box.read() if letter.position == letter_position), None)
    if letter is None:
        raise unknown(position)
    say(json.dumps(plain(letter)) if as_json else page(letter))
