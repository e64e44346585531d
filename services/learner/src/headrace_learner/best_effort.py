"""Best-effort calls: their failure does no harm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

_log = structlog.get_logger()


def attempt(action: Callable[[], Any]) -> None:
    """Call an action whose failure does no harm, such as closing a reader while the broker is away."""
    try:
        action()
    except Exception as error:
        _log.warning("best_effort_failed", reason=repr(error))
