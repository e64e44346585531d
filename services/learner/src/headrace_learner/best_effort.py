"""Calls that may fail without harm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

_log = structlog.get_logger()


def attempt(action: Callable[[], Any]) -> None:
    """Call what may fail without harm, if a broker or a store is away."""
    try:
        action()
    except Exception as error:
        _log.warning("message_skipped", reason=repr(error))
