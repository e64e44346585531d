"""``headrace compile``."""

from __future__ import annotations

from pathlib import Path

import click

from headrace.cli.output import say_bytes


@click.command("compile")
@click.argument("loop", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write it; default: standard output.")
def command(loop: Path, output: Path | None) -> None:
    """Compile the loop in the file LOOP to JSON: what ingest, feature and scorer start from.

    \b
    Example:
      headrace compile loop.py -o loop.json
    """
    from headrace import compiler
    from headrace.wire import compiled_loop

    data = compiled_loop.encode(compiler.load(loop).definition) + b"\n"
    if output is None:
        say_bytes(data)
    else:
        output.write_bytes(data)
