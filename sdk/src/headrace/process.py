"""How the process of a service begins and ends."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from headrace.errors import HeadraceError, InvalidSettings


def run(parser: argparse.ArgumentParser, serve: Callable[[], int | None]) -> NoReturn:
    """Serve, and end this process with the status of what ended it.

    The status is what `serve` returns (0 where that is None), 2 for settings that are refused, and 1 for everything
    else, which is told on standard error.
    """
    try:
        status = serve() or 0
    except InvalidSettings as error:
        parser.error(str(error))
    except (HeadraceError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        status = 1
    except Exception:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # What is to be saved is saved and closed. The broker's client has threads that can abort an interpreter that shuts
    # down: after a restart of the broker, or where a fault left the client open.
    os._exit(status)
