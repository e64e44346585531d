"""The preparation of the demo's events, in a process beside the one that starts the loop."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path


@dataclass(frozen=True)
class PreparedEvents:
    """The events to play.

    Attributes
    ----------
    files
        The file of each stream.
    count
        The number of events in all files.
    question
        The JSON of the flight that the model is asked about at the end.
    """

    files: Mapping[str, Path]
    count: int
    question: str


def begin(directory: Path, events: int | None) -> Future[PreparedEvents]:
    """Begin to write the first events of the year, or all of them, as one file for each stream.

    The import of pandas and the work take a second of a core, which the loop's start would wait for in this process.
    """
    pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_leave_interrupts_to_the_parent)
    prepared = pool.submit(_prepare, directory, events)
    pool.shutdown(wait=False)  # the process ends when its work is done
    return prepared


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _prepare(directory: Path, events: int | None) -> PreparedEvents:
    from headrace.demo import dataset

    tables = dataset.first(events, dataset.streams())
    files = dataset.write(directory, tables)
    return PreparedEvents(files, sum(map(len, tables.values())), dataset.next_flight(tables))
