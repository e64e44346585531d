"""``headrace status``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from headrace.cli.target import Target, find

_EVERY_S = 1.0


@click.command("status")
@click.argument("loop", required=False)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="HEADRACE_DATA",
    help="The data directory it runs on; default: any below .headrace.",
)
@click.option("--redis", metavar="URL", help="Its online store, if it does not run on this machine.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.option("--watch", is_flag=True, help="Again each second, until Ctrl-C.")
def command(loop: str | None, data: Path | None, redis: str | None, as_json: bool, watch: bool) -> None:
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


def _print(target: Target, as_json: bool) -> None:
    from headrace.cli import board

    statuses = target.statuses(silent=True)
    if as_json:
        click.echo(board.as_json(target.loop, statuses))
    elif sys.stdout.isatty():
        from rich.console import Console

        Console().print(board.as_table(target.loop, board.complete(statuses)))
    else:
        click.echo("\n".join(board.as_lines(board.complete(statuses))))


def _watch(target: Target, as_json: bool) -> None:
    if as_json or not sys.stdout.isatty():
        while True:
            _print(target, as_json)
            sys.stdout.flush()
            time.sleep(_EVERY_S)
    from rich.live import Live

    from headrace.cli import board

    with Live(screen=True, auto_refresh=False) as live:
        while True:
            live.update(board.as_table(target.loop, board.complete(target.statuses(silent=True))), refresh=True)
            time.sleep(_EVERY_S)
