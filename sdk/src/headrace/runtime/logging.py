"""Structured logs: one JSON object per line on standard error, for headrace and for libraries."""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType
from typing import Any

import structlog


def only_errors() -> None:
    """Set up logging for a command: only errors, as its output is its result."""
    _set_up([], logging.ERROR)


def configure(service: str, instance: str, level: int = logging.INFO) -> None:
    """Set up logging for a service process; every line carries the service and the instance."""

    def identify(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.update(service=service, instance=instance)
        return event

    _set_up([identify], level)
    logging.basicConfig(handlers=[_OfLibraries()], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    threading.excepthook = _log_thread_failure
    sys.unraisablehook = _log_ignored


class StandardError:
    """The current standard error; a full disk or a closed terminal makes no log call fail."""

    def __init__(self) -> None:
        self._cut = False

    def write(self, line: str) -> None:
        """Write a line; after one that was cut off, start a new line first."""
        try:
            sys.stderr.write(f"\n{line}" if self._cut else line)
        except (OSError, ValueError):
            self._cut = True
        else:
            self._cut = False

    def flush(self) -> None:
        """Flush what is buffered."""
        try:
            sys.stderr.flush()
        except (OSError, ValueError):
            self._cut = True


def _set_up(processors: list[Any], level: int) -> None:
    structlog.configure(
        processors=[
            *processors,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=StandardError()),  # type: ignore[arg-type]
    )


class _OfLibraries(logging.Handler):
    """A handler that writes the `logging` records of libraries in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        structlog.get_logger().log(
            record.levelno, "library_message", logger=record.name, message=message, exc_info=record.exc_info
        )


def _log_thread_failure(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread is not None else "?"
    structlog.get_logger().error("thread_failed", thread=name, **_error_fields(args.exc_value, args.exc_traceback))


def _log_ignored(args: sys.UnraisableHookArgs) -> None:
    fields = _error_fields(args.exc_value, args.exc_traceback)
    structlog.get_logger().error("exception_ignored", where=repr(args.object), **fields)


def _error_fields(error: BaseException | None, at: TracebackType | None) -> dict[str, Any]:
    return {} if error is None else {"reason": repr(error), "exc_info": (type(error), error, at)}
