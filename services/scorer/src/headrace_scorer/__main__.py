"""``python -m headrace_scorer --loop loop.json``."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvloop

from headrace.runtime import logging, service
from headrace_scorer.bootstrap import Service
from headrace_scorer.settings import ScorerSettings


def main() -> None:
    """Run a scorer until it is stopped by a signal."""
    parser = argparse.ArgumentParser(prog="headrace-scorer", description="Answers what a model predicts.")
    parser.add_argument("--loop", type=Path, help="the compiled loop; else HEADRACE_LOOP")
    arguments = parser.parse_args()

    def serve() -> None:
        settings = ScorerSettings(**({"loop": arguments.loop} if arguments.loop else {}))
        logging.configure("scorer", settings.instance)
        uvloop.run(_serve(settings))

    service.run(parser, serve)


async def _serve(settings: ScorerSettings) -> None:
    await Service(settings).run()


if __name__ == "__main__":
    main()
