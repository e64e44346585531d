"""`python -m headrace_learner`"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from headrace import logs
from headrace.errors import HeadraceError, InvalidSettings

from .bootstrap import serve
from .settings import LearnerSettings


def main() -> None:
    """Learn the models of a loop; everything else comes from the environment (`HEADRACE_...`)."""
    parser = argparse.ArgumentParser(prog="headrace-learner", description=main.__doc__)
    parser.add_argument("--loop", type=Path, help="the compiled loop (HEADRACE_LOOP)")
    parser.add_argument("--loop-file", type=Path, help="the loop's Python file (HEADRACE_LOOP_FILE)")
    parser.add_argument("--model", action="append", default=[], help="learn this model only; may be repeated")
    arguments = parser.parse_args()
    given = {"loop": arguments.loop, "loop_file": arguments.loop_file}
    try:
        settings = LearnerSettings(**{name: value for name, value in given.items() if value is not None})
        logs.configure("learner", settings.instance)
        sys.exit(asyncio.run(serve(settings, arguments.model)))
    except InvalidSettings as error:
        parser.error(str(error))
    except HeadraceError as error:
        sys.exit(f"headrace-learner: {error}")


if __name__ == "__main__":
    main()
