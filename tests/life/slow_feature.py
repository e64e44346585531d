"""The feature service, which takes as long to make examples again as if the loop had a long history."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headrace.history.remake import Remade
from headrace.wire.tables import LogEntries
from headrace_feature import example_remaker
from headrace_feature.__main__ import main

#: The environment variable with the path of a file: while it exists, examples are not finished.
HOLD = "HEADRACE_LIFE_HOLD"

#: Seconds that pass between the last read of an event (or the end of a hold) and the end of the remaking, and the
#: longest hold.
_SECONDS, _LONGEST = 5.0, 90.0


def slow_down() -> None:
    """Let labels arrive while examples are made: those of a life have few events."""
    remake = example_remaker.remake

    def slow(*arguments: Any, **options: Any) -> Remade:
        remade = remake(*arguments, **options)
        remade.entries = _late(remade.entries)
        return remade

    example_remaker.remake = slow  # type: ignore[attr-defined]


def _late(entries: Iterator[LogEntries]) -> Iterator[LogEntries]:
    yield from entries
    hold, start = Path(os.environ[HOLD]), time.monotonic()
    while hold.exists() and time.monotonic() - start < _LONGEST:
        time.sleep(0.1)
    time.sleep(_SECONDS)


if __name__ == "__main__":
    slow_down()
    main()
