"""Reading many stored rows of many views in one compiled pass.

The scorer does this for each request. The rows are loaded and read by the same functions as in a `RowSet`, in the same
order, so the values are equal to the bit; but no row set is built, and compiled code is called only once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from headrace.engine.arrays import Floats, Ints
from headrace.engine.kernel.layout import Layout
from headrace.engine.kernel.rows import CURE, check_row
from headrace.engine.kernel.tiles import NEVER, read_stored
from headrace.errors import Unreadable


class StoredValues(NamedTuple):
    """Values of R reads for each of N events.

    Attributes
    ----------
    values
        float64[N, V]: the values of all reads, one after another, as `Layout.finish` returns them.
    cuts
        int64[N, P, 3]: the position of each row, by read and partition (P in all); -1 if there is no row.
    newest
        int64[N, R]: the newest event time in the rows of each read; -2**62 if there is none.
    behind
        Number of reads that were too old to be exact.
    """

    values: Floats
    cuts: Ints
    newest: Ints
    behind: int


class StoredReader:
    """Reads the same rows (by view and partition) for any number of events.

    Parameters
    ----------
    layouts, partitions
        For each read: the layout of its view, and the number of partitions of the view's stream.

    Attributes
    ----------
    starts
        For each read: the column of `StoredValues.values` where its values begin.
    """

    def __init__(self, layouts: Sequence[Layout], partitions: Sequence[int]) -> None:
        self._plans = np.concatenate([layout.plan for layout in layouts] or [np.empty((0, 3), np.int64)])
        self._windows = np.concatenate([layout.windows for layout in layouts] or [np.empty((0, 4), np.int64)])
        self._empties = np.concatenate([layout.empty for layout in layouts] or [np.empty(0)])
        plans = _starts([len(layout.plan) for layout in layouts])
        windows = _starts([len(layout.windows) for layout in layouts])
        widths = _starts([layout.width for layout in layouts])
        values = _starts([len(layout.plan) * len(layout.windows) for layout in layouts])
        self.starts = values[:-1]
        self._value_count = values[-1]
        self._partition_count = sum(partitions)
        self._reads = np.array(
            [
                (
                    plans[at], plans[at + 1], windows[at], windows[at + 1], widths[at], widths[at + 1], values[at],
                    layout.slots, layout.view.resolution, layout.view.keep, partitions[at],
                )
                for at, layout in enumerate(layouts)
            ],
            np.int64,
        ).reshape(-1, 11)  # fmt: skip
        self._max_tiles = max((layout.slots for layout in layouts), default=0)
        self._max_states = max((layout.slots * layout.width for layout in layouts), default=0)
        self._max_totals = max((len(layout.windows) * layout.width for layout in layouts), default=0)

    def run(self, times: Ints, rows: Sequence[Sequence[Sequence[bytes | None]]]) -> StoredValues:
        """Read the values of N events from their rows.

        Parameters
        ----------
        times
            int64[N]: the as-of time of each event.
        rows
            ``rows[event][read][partition]``: the bytes of a row; None if there is no row.

        Raises
        ------
        Unreadable
            Some bytes are not a row of their view.
        """
        flat_rows = [row for event in rows for read in event for row in read]
        lengths = np.array([-1 if row is None else len(row) for row in flat_rows], np.int64)
        data = b"".join([row for row in flat_rows if row is not None])
        if len(data) % 8:
            raise _first_wrong(flat_rows)
        words = np.frombuffer(data, np.float64)
        count = len(times)
        values = np.empty((count, self._value_count))
        cuts = np.full((count, self._partition_count, 3), -1, np.int64)
        newest = np.full((count, len(self._reads)), NEVER, np.int64)
        behind = read_stored(
            self._plans, self._windows, self._empties, self._reads,
            self._max_tiles, self._max_states, self._max_totals,
            times, lengths, np.frombuffer(data, np.uint8), words.view(np.int64), words, values, cuts, newest,
        )  # fmt: skip
        if behind < 0:
            raise _first_wrong(flat_rows)
        return StoredValues(values, cuts, newest, behind)


def _first_wrong(rows: Iterable[bytes | None]) -> Unreadable:
    """Return the error of the first row that cannot be read."""
    for row in rows:
        try:
            if row is not None:
                check_row(row)
        except Unreadable as error:
            return error
    return Unreadable("a stored row", "it is not a row of its view", CURE)


def _starts(sizes: Sequence[int]) -> list[int]:
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    return starts
