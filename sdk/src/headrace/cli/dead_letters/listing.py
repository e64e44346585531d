"""``headrace dead-letters list``."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.dead_letters.box import check_stream, letter_options, open_box
from headrace.cli.dead_letters.wording import line, plain
from headrace.cli.output import say
from headrace.cli.running_target import find

if TYPE_CHECKING:
    from headrace.runtime.pulsar.dead_letters import Letter


@click.command("list")
@click.option("--stream", help="Only those of this stream.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="Only the newest so many.")
@click.option("--retried", is_flag=True, help="Also those that were sent through again.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON each.")
@letter_options
def list_letters(
    *,
    stream: str | None,
    limit: int,
    retried: bool,
    as_json: bool,
    pulsar: str | None,
    loop: str | None,
    data: Path | None,
    redis: str | None,
) -> None:
    """List dead letters, the oldest first; letters that were sent through again are settled, and left out.

    \b
    Example:
      headrace dead-letters list --limit 5
    """
    target = find(loop, data, redis)
    newest: deque[Letter] = deque(maxlen=limit)
    total = hidden = 0
    with open_box(target, pulsar) as box:
        for letter in box.read():
            if stream not in (None, letter.letter.stream):
                continue
            if letter.retried and not retried:
                hidden += 1
                continue
            total += 1
            newest.append(letter)
    if not total:
        check_stream(stream, target)
    for letter in newest:
        say(json.dumps(plain(letter)) if as_json else line(letter))
    _tell_rest(total, len(newest), hidden, as_json)


def _tell_rest(total: int, shown: int, hidden: int, as_json: bool) -> None:
    """Report on standard error what is not shown."""
    if total > shown:
        say(f"the newest {shown:,} of {total:,}: --limit shows more", err=True)
    if not total and not as_json:
        say("no dead letters", err=True)
    if hidden:
        say(f"{hidden:,} more were sent through again: --retried shows them too", err=True)
