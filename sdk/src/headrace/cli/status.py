"""``headrace status``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.display_guard import Guard
from headrace.cli.output import cell, say
from headrace.cli.running_target import Target, find

if TYPE_CHECKING:
    from headrace.runtime.redis.status import ServiceStatus

_EVERY_S = 1.0


@click.command("status")
@click.argument("loop", required=False)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="HEADRACE_DATA",
    help="The data directory it runs on; default: any below .headrace.",
)
@click.option(
    "--redis",
    metavar="URL",
    envvar="HEADRACE_REDIS_URL",
    help="Its online store, if it does not run on this machine.",
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.option("--watch", is_flag=True, help="Again each second, until Ctrl-C.")
def command(*, loop: str | None, data: Path | None, redis: str | None, as_json: bool, watch: bool) -> None:
    """Show what the services of the running loop LOOP (its name or file) do: lag, rates, versions, dead letters.

    \b
    Examples:
      headrace status
      headrace status flights --watch
      headrace status --redis redis://store:6379/0 --json
    """
    target = find(loop, data, redis)
    if watch:
        _watch(target, as_json)
    else:
        _print(target, as_json)


def _statuses(target: Target) -> Sequence[ServiceStatus]:
    from headrace.cli import board

    return board.complete(target.statuses(silent=True))


def _print(target: Target, as_json: bool) -> None:
    from headrace.cli import board

    if as_json or not sys.stdout.isatty():
        say(_text(target, as_json))
        return
    from rich.console import Console

    Console().print(board.as_table(target.loop, _statuses(target), target.problems()))


def _text(target: Target, as_json: bool) -> str:
    from headrace.cli import board

    if as_json:
        return board.as_json(target.loop, target.statuses(silent=True), target.problems())
    return "\n".join(board.as_lines(_statuses(target), target.problems()))


def _watch(target: Target, as_json: bool) -> None:
    if as_json or not sys.stdout.isatty():
        _watch_lines(target, as_json)
        return
    from rich.live import Live

    from headrace.cli import board

    with Live(screen=True, auto_refresh=False) as live:
        guard = Guard(lambda text: live.update(cell(text, "red"), refresh=True))
        while True:
            guard(lambda: live.update(board.as_table(target.loop, _statuses(target), target.problems()), refresh=True))
            time.sleep(_EVERY_S)


def _watch_lines(target: Target, as_json: bool) -> None:
    guard = Guard(lambda text: say(text, err=True))
    texts: list[str] = []
    while True:
        texts.clear()
        guard(lambda: texts.append(_text(target, as_json)))
        for text in texts:
            say(text)
        sys.stdout.flush()
        time.sleep(_EVERY_S)
