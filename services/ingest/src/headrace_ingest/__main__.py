"""``python -m headrace_ingest --loop loop.json``."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvloop

from headrace.runtime import logging, service
from headrace_ingest.bootstrap import run
from headrace_ingest.settings import IngestSettings


def main() -> None:
    """Run the ingest service; settings come from the environment."""
    parser = argparse.ArgumentParser(prog="headrace-ingest", description="Takes events over gRPC into their streams.")
    parser.add_argument("--loop", type=Path, help="the compiled loop; default: HEADRACE_LOOP")
    arguments = parser.parse_args()

    def serve() -> None:
        settings = IngestSettings(**({"loop": arguments.loop} if arguments.loop else {}))
        logging.configure("ingest", settings.instance)
        uvloop.run(run(settings))

    service.run(parser, serve)


if __name__ == "__main__":
    main()
