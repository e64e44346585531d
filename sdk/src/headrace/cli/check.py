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
    help="A running loop (its name or file), its data directory, or its store's URL: say what becomes of its state.",
)
@click.option("--pulsar", metavar="URL", help="The broker of that loop, if it does not run on this machine.")
@click.option(
    "--pulsar-admin",
    metavar="URL",
    envvar="HEADRACE_PULSAR_ADMIN_URL",
    help="Its admin API, which knows schemas and partitions.",
)
@click.option("--json", "as_json", is_flag=True, help="With --against: one line of JSON.")
def command(*, loop: Path, against: str | None, pulsar: str | None, pulsar_admin: str | None, as_json: bool) -> int:
    """Explain the loop in the file LOOP: its streams, topics, views, features, models.

    Every mistake is named with its line and its cure; the exit code is then 2. With --against nothing is explained:
    the file is compared with a running loop, and nothing is changed. The exit code is 6 if some of its state cannot be
    carried over.

    \b
    Examples:
      headrace check loop.py
      headrace check loop.py --against flights
      headrace check loop.py --against redis://store:6379/0 --pulsar pulsar://broker:6650
    """
    from headrace import compiler

    definition = compiler.load(loop).definition
    if against is not None:
        from headrace.cli.against import compare_with

        return compare_with(definition, against, pulsar, pulsar_admin, as_json=as_json)
    if as_json or pulsar:
        raise click.UsageError("--json and --pulsar belong to --against")
    say(compiler.explain(definition), nl=False)
    return 0
