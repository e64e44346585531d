"""Run the feature service: ``python -m headrace_feature``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from headrace_feature.settings import FeatureSettings


@click.command(epilog="Example: headrace-feature --loop loop.json --role fold")
@click.option("--loop", type=click.Path(exists=True, path_type=Path), envvar="HEADRACE_LOOP", help="The compiled loop.")
@click.option("--role", type=click.Choice(["all", "fold", "join"]), envvar="HEADRACE_ROLE", default="all")
def main(loop: Path | None, role: str) -> None:
    """Fold events into rows, assemble vectors, join them with their labels.

    Everything else is set by environment variables with the prefix HEADRACE_.
    """
    # Faust reads the process's arguments when it is imported, and takes `--loop` for its own.
    del sys.argv[1:]
    # Faust reads --loop from the command line as it is imported, and means something else by it.
    del sys.argv[1:]
    from headrace_feature.bootstrap import run

    given = {"loop": loop} if loop else {}
    asyncio.run(run(FeatureSettings(role=role, **given)))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
