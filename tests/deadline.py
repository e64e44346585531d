"""Waiting for a condition, with a deadline: what tests do instead of sleeping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

_Value = TypeVar("_Value")


def until(probe: Callable[[], _Value], holds: Callable[[_Value], bool] = bool, seconds: float = 30.0) -> _Value:
    """The first value of `probe` that `holds`.

    Raises
    ------
    TimeoutError
        None did in time; the message shows the last value.
    """
    end = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        value = probe()
        if holds(value):
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds} s still: {value!r}")
        pause.wait(0.05)
