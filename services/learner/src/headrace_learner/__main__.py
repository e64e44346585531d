"""`python -m headrace_learner`"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from headrace.runtime import logging, service
from headrace_learner.bootstrap import serve
from headrace_learner.settings import LearnerSettings


def main() -> None:
    """Learn the models of a loop; everything else comes from the environment (`HEADRACE_...`)."""
    parser = argparse.ArgumentParser(prog="headrace-learner", description=main.__doc__)
    parser.add_argument("--loop", type=Path, help="the compiled loop (HEADRACE_LOOP)")
    parser.add_argument("--loop-file", type=Path, help="the loop's Python file (HEADRACE_LOOP_FILE)")
    parser.add_argument("--model", action="append", default=[], help="learn this model only; may be repeated")
    arguments = parser.parse_args()
    options = {"loop": arguments.loop, "loop_file": arguments.loop_file}

    def learn() -> int:
        settings = LearnerSettings(**{name: value for name, value in options.items() if value is not None})
        logging.configure("learner", settings.instance)
        return asyncio.run(serve(settings, arguments.model))

    service.run(parser, learn)


if __name__ == "__main__":
    main()
