"""``headrace check``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("check")
@click.argument("loop", type=click.Path(path_type=Path))
def command(loop: Path) -> None:
    """Explain the loop in the file LOOP: its streams, topics, views, features, models.

    Every mistake is named with its line and its cure; the exit code is then 2.

    \b
    Example:
      headrace check loop.py
    """
    from headrace import declare

    click.echo(declare.explain(declare.load(loop).definition), nl=False)
