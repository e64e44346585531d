"""Run the feature service: ``python -m headrace_feature``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from headrace.runtime import service
from headrace_feature.settings import FeatureSettings


def main() -> None:
    """Fold events into rows, assemble vectors, join them with their labels; all else comes from HEADRACE_..."""
    parser = argparse.ArgumentParser(
        prog="headrace-feature",
        description=main.__doc__,
        epilog="Example: headrace-feature --loop loop.json --role fold",
    )
    parser.add_argument("--loop", type=Path, help="the compiled loop (HEADRACE_LOOP)")
    parser.add_argument("--role", choices=["all", "fold", "join"], help="what this process does (HEADRACE_ROLE)")
    arguments = parser.parse_args()
    options = {"loop": arguments.loop, "role": arguments.role}
    # Faust reads the process's arguments when it is imported, and takes `--loop` for its own.
    del sys.argv[1:]
    from headrace_feature.bootstrap import run

    def serve() -> None:
        asyncio.run(run(FeatureSettings(**{name: value for name, value in options.items() if value is not None})))

    service.run(parser, serve)


if __name__ == "__main__":
    main()
