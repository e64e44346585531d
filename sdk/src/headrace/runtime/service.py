"""Start and end of a service process."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import structlog

from headrace.errors import HeadraceError, InvalidSettings

_log = structlog.get_logger()


def run(parser: argparse.ArgumentParser, serve: Callable[[], int | None]) -> NoReturn:
    """Serve, and end this process with the exit status that the outcome calls for.

    The status is what `serve` returns (0 for None), 2 for settings that are refused, and 1 for everything
    else, which is logged.
    """
    try:
        status = serve() or 0
    except InvalidSettings as error:
        parser.error(str(error))
    except (HeadraceError, OSError) as error:
        _log.error("service_failed", program=parser.prog, reason=str(error))
        status = 1
    except Exception as error:
        _log.error("service_failed", program=parser.prog, reason=repr(error), exc_info=error)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the disk may be full
            stream.flush()
    # Everything to be saved is saved and closed. Threads of the broker's client can abort an interpreter that shuts
    # down: after a restart of the broker, or if an error left the client open.
    os._exit(status)
