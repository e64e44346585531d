"""Reading many stored rows, of many views, in one compiled pass.

What a scorer does for each request. The rows are loaded and read by the very functions that a
`RowSet` uses, in the same order, so that the values are the same to the bit; what is saved is a row set
for each view, and its way in and out of compiled code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.errors import CorruptState
from headrace.kernel.compiled import compiled
from headrace.kernel.rows import _HEADER, _NEVER, _WORDS_BEFORE, Floats, Ints, Layout, _finish, _load, _merge_all, _read

_HEADER_BYTES = _HEADER.size


class StoredValues(NamedTuple):
    """What N times R rows say.

    Attributes
    ----------
    values
        float64[N, V]: of each read in turn its values, as `Layout.finish` gives them.
    cuts
        int64[N, C, 3]: the position of each row, by read and partition; -1 where there was none.
    newest
        int64[N, R]: newest event time in the rows of each read, -2**62 where there is none.
    behind
        Reads that were too old to be exact.
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
        For each read the layout of its view and the partitions of the view's stream.

    Attributes
    ----------
    starts
        For each read the column of `StoredValues.values` where its values begin.
    """

    def __init__(self, layouts: Sequence[Layout], partitions: Sequence[int]) -> None:
        self._plans = np.concatenate([own.plan for own in layouts] or [np.empty((0, 3), np.int64)])
        self._windows = np.concatenate([own.windows for own in layouts] or [np.empty((0, 4), np.int64)])
        self._empties = np.concatenate([own.empty for own in layouts] or [np.empty(0)])
        plans = _starts([len(own.plan) for own in layouts])
        windows = _starts([len(own.windows) for own in layouts])
        widths = _starts([own.width for own in layouts])
        values = _starts([len(own.plan) * len(own.windows) for own in layouts])
        self.starts = values[:-1]
        self._values = values[-1]
        self._parts = sum(partitions)
        self._reads = np.array(
            [
                (
                    plans[at], plans[at + 1], windows[at], windows[at + 1], widths[at], widths[at + 1], values[at],
                    own.slots, own.view.resolution, own.view.keep, partitions[at],
                )
                for at, own in enumerate(layouts)
            ],
            np.int64,
        ).reshape(-1, 11)  # fmt: skip
        self._tiles = max((own.slots for own in layouts), default=0)
        self._states = max((own.slots * own.width for own in layouts), default=0)
        self._totals = max((len(own.windows) * own.width for own in layouts), default=0)

    def run(self, times: Ints, rows: Sequence[Sequence[Sequence[bytes | None]]]) -> StoredValues:
        """Read the rows of N events.

        Parameters
        ----------
        times
            int64[N]: as of when.
        rows
            ``rows[event][read][partition]``: the row's bytes, None where there is none.

        Raises
        ------
        CorruptState
            Bytes that are no row of their view.
        """
        stored = [own or b"" for event in rows for read in event for own in read]
        lengths = np.array([len(own) for own in stored], np.int64)
        data = b"".join(stored)
        if len(data) % 8:
            raise CorruptState(f"stored rows: {len(data)} bytes, which no rows have")
        words = np.frombuffer(data, np.float64)
        size = len(times)
        values = np.empty((size, self._values))
        cuts = np.full((size, self._parts, 3), -1, np.int64)
        newest = np.full((size, len(self._reads)), _NEVER, np.int64)
        behind = _read_stored(
            self._plans, self._windows, self._empties, self._reads, self._tiles, self._states, self._totals,
            times, lengths, np.frombuffer(data, np.uint8), words.view(np.int64), words, values, cuts, newest,
        )  # fmt: skip
        if behind < 0:
            raise CorruptState("stored rows: a row's length is not what its header says")
        return StoredValues(values, cuts, newest, behind)


def _starts(sizes: Sequence[int]) -> list[int]:
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    return starts


@compiled
def _big_endian(data: npt.NDArray[np.uint8], at: int, size: int) -> int:
    value = 0
    for index in range(at, at + size):
        value = value * 256 + int(data[index])
    return value


@compiled
def _read_stored(
    plans: Ints, windows: Ints, empties: Floats, reads: Ints, most_tiles: int, most_states: int, most_totals: int,
    times: Ints, lengths: Ints, data: npt.NDArray[np.uint8], ints: Ints, words: Floats,
    values: Floats, cuts: Ints, newest: Ints,
) -> int:  # fmt: skip
    """Returns how many reads were behind, -1 where the bytes are no row."""
    most_words = 1
    for index in range(lengths.shape[0]):
        most_words = max(most_words, lengths[index] // 8)
    row_newest = np.empty(1, np.int64)
    heads = np.empty((1, 2), np.int64)
    all_tiles = np.empty(most_tiles, np.int64)
    all_states = np.empty(most_states)
    ticks = np.empty(most_words, np.int64)
    following = np.empty(most_words, np.int64)
    all_tick_states = np.empty(most_words)
    scratch_states = np.empty(most_totals)
    total_states = np.empty(most_totals)
    part_states = np.empty(most_totals)
    row, at, behind = 0, 0, 0
    for event in range(times.shape[0]):
        part = 0
        for read in range(reads.shape[0]):
            own = reads[read]
            plan, ring, empty = plans[own[0] : own[1]], windows[own[2] : own[3]], empties[own[4] : own[5]]
            slots, resolution, keep = own[7], own[8], own[9]
            width, count = empty.shape[0], ring.shape[0]
            tiles = all_tiles[:slots].reshape(1, slots)
            states = all_states[: slots * width].reshape(1, slots, width)
            scratch = scratch_states[:width]
            total = total_states[: count * width].reshape(count, width)
            found = part_states[: count * width].reshape(count, width)
            for partition in range(own[10]):
                out = total if partition == 0 else found
                length = lengths[row]
                if length == 0:
                    for window in range(count):
                        out[window] = empty
                else:
                    first = (at + _HEADER_BYTES) // 8
                    last = (at + length) // 8
                    if length < _HEADER_BYTES + 8 * _WORDS_BEFORE or (last - first) != (
                        _WORDS_BEFORE + ints[first + 1] * (2 + width) + ints[first + 2] * (1 + width)
                    ):
                        return -1
                    needed = ints[first + 2]
                    for node in range(needed):
                        following[node] = node + 1
                    free = -1
                    if needed > 0:
                        free = 0
                        following[needed - 1] = -1
                    tiles[:] = _NEVER
                    heads[:] = -1
                    tick_states = all_tick_states[: needed * width].reshape(needed, width)
                    _load(
                        0, ints[first:last], words[first:last], row_newest, heads, tiles, states,
                        ticks, following, tick_states, free,
                    )  # fmt: skip
                    if row_newest[0] > _NEVER:
                        _read(
                            plan, ring, empty, resolution, times[event], heads[0, 0], tiles[0], states[0],
                            ticks, following, tick_states, scratch, out,
                        )  # fmt: skip
                        cuts[event, part, 0] = _big_endian(data, at + 8, 8) - 1
                        cuts[event, part, 1] = _big_endian(data, at + 16, 8) - 1
                        cuts[event, part, 2] = _big_endian(data, at + 24, 4) - 1
                        newest[event, read] = max(newest[event, read], row_newest[0])
                        if times[event] // resolution < (row_newest[0] - keep) // resolution:
                            behind += 1
                    else:
                        for window in range(count):
                            out[window] = empty
                if partition > 0:
                    _merge_all(plan, total.reshape(1, count, width), found.reshape(1, count, width))
                at += length
                row += 1
                part += 1
            size = plan.shape[0] * count
            _finish(plan, total.reshape(1, count, width), values[event : event + 1, own[6] : own[6] + size])
    return behind
