"""The wall clock."""

from __future__ import annotations

import time


def wall_clock() -> int:
    """Return the time by the clock of this machine, in µs since the epoch."""
    return time.time_ns() // 1_000
