"""``headrace check``."""

from __future__ import annotations

from pathlib import Path

import click

from headrace.cli.output import say


@click.command("check")
@click.argument("loop", type=click.Path(path_type=Path))
@click.option(
    "--against",
    metavar="LOOP|DIRECTORY|URL",
    help="A running loop (its name or file), its data directory, or its store's URL: show what happens to its state.",
)
@click.option("--pulsar", metavar="URL", help="The broker of that loop, if it does not run on this machine.")
@click.option(
    "--pulsar-admin",
    metavar="URL",
    envvar="HEADRACE_PULSAR_ADMIN_URL",
    help="The admin API of that broker, for schemas and partitions.",
)
@click.option("--json", "as_json", is_flag=True, help="With --against: one line of JSON.")
def command(*, loop: Path, against: str | None, pulsar: str | None, pulsar_admin: str | None, as_json: bool) -> int:
    """Explain the loop in the file LOOP: its streams, topics, views, features, models.

    If the file has mistakes, each is listed with its line and a fix, and the exit code is 2. With --against, the file
    is compared with a running loop instead, which is not changed; the exit code is 6 if some of its state cannot be
    carried over.

    \b
    Examples:
      headrace check loop.py
      headrace check loop.py --against flights
      headrace check loop.py --against redis://store:6379/0 --pulsar pulsar://broker:6650
    """
    from headrace import compiler

    loaded = compiler.load(loop)
    if against is not None:
        from headrace.cli.against import compare_with

        return compare_with(loaded.definition, against, pulsar, pulsar_admin, as_json=as_json)
    if as_json or pulsar:
        raise click.UsageError("--json and --pulsar require --against")
    say(compiler.explain(loaded), nl=False)
    return 0
