"""``headrace demo``."""

from __future__ import annotations

import click

from headrace.wording import counted

#: In the first few hundred events no flight has landed, so there is nothing to learn or to ask.
_FEWEST = 1_000


def _enough(context: click.Context, option: click.Parameter, value: int | None) -> int | None:
    if value is not None and value < _FEWEST:
        raise click.BadParameter(f"{counted(value, 'event')} are too few for a flight to land: say {_FEWEST} or more")
    return value


@click.command("demo")
@click.option(
    "--events",
    type=int,
    envvar="EVENTS",
    callback=_enough,
    metavar="N",
    help="Stop after this many events; default: all.",
)
def command(events: int | None) -> None:
    """Learn from a year of flights, as fast as this machine can, which of them arrive late.

    On a terminal it shows a board and stays up for questions; elsewhere it prints lines, asks one question and stops.
    The last line on standard output is one JSON object. Its state is in .headrace/demo; each run replaces it.

    \b
    Examples:
      headrace demo
      headrace demo --events 100000
    """
    from headrace.demo import demo

    demo.run(events)
