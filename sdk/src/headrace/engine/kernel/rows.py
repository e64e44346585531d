"""Rows: the state of a view for each entity, folded event by event and read as of any recent time.

For each window a row holds a ring of *tiles* (each a partial aggregate of one hop), and for its most recent past
sparse *ticks* (each a partial aggregate of one resolution step). A tick is merged into the tiles once it is older
than the row's newest event by `keep`. A reader picks only the ticks before its own time, so a row can be ahead of
its reader. Tiles and ticks are merged in time order and always with the same association, so a value does not
depend on whether a tick has been merged already.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from headrace.engine.arrays import Floats, Ints
from headrace.engine.kernel import tiles
from headrace.engine.kernel.layout import Layout
from headrace.engine.kernel.tiles import HEADER_BYTES, NEVER
from headrace.errors import Unreadable
from headrace.wire.formats import FORMAT, VERSION, check_format, version_text

_Array = TypeVar("_Array", bound=npt.NDArray[Any])

# The header of a row has 40 bytes, so that the words of the state are aligned. It begins with the fence (epoch and
# position), whose bytes compare as they do: it decides whether the row may be replaced. Then come the format, the
# version of headrace that reads it, a zero byte and the length of the state. The CRC-32 of all that and of the state
# comes last.
_FENCE, _HEADER = struct.Struct(">QQQI"), struct.Struct(">QQQIBBBBII")
_HEADER_DTYPE = np.dtype(
    [
        *((name, ">u8") for name in ("epoch", "ledger", "entry")),
        ("batch", ">u4"),
        *((name, "u1") for name in ("format", "major", "minor", "zero")),
        *((name, ">u4") for name in ("length", "crc")),
    ]
)
FENCE_BYTES = _FENCE.size
_FRONT = HEADER_BYTES - 4

#: How to rebuild a row.
CURE = "`headrace backfill --again` rebuilds it from the log"
_WHAT = "a stored row"


def epoch_of(data: bytes) -> int:
    """Return the epoch of the owner that wrote a row."""
    return int.from_bytes(data[:8], "big")


def check_row(data: bytes) -> None:
    """Check that a row is as it was written.

    Raises
    ------
    Unreadable
        The row is truncated, changed, or of another format.
    """
    if len(data) < HEADER_BYTES:
        raise _unreadable(f"it has {len(data)} bytes, less than its header of {HEADER_BYTES}")
    epoch, ledger, entry, _, number, major, minor, _, length, crc = _HEADER.unpack_from(data)
    if crc != zlib.crc32(data[HEADER_BYTES:], zlib.crc32(data[:_FRONT])):
        raise _unreadable("its bytes do not have the checksum of its header")
    check_format(_WHAT, number, version_text((major, minor)))
    if length != len(data) - HEADER_BYTES or length % 8:
        raise _unreadable(f"it has {len(data) - HEADER_BYTES} bytes, and its header says {length}")
    if max(epoch, ledger, entry) >= 2**63:
        raise _unreadable("its epoch or position has more than 63 bits")


def state_words(layout: Layout, data: bytes) -> Floats:
    """Return the 8-byte words of a row's state, validated, because compiled code relies on them.

    Raises
    ------
    Unreadable
        The bytes are not a row of the view.
    """
    check_row(data)
    words = np.frombuffer(data, np.float64, offset=HEADER_BYTES)
    if not tiles.well_formed(words.view(np.int64), layout.slots, layout.width):
        raise _unreadable(f"it is not a row of view {layout.view.name!r}")
    return words


def _unreadable(problem: str) -> Unreadable:
    return Unreadable(_WHAT, problem, CURE)


def _headers(epoch: int, positions: Ints, data: npt.NDArray[np.uint8], ends: Ints) -> bytes:
    """Return the headers of rows, concatenated; `data` holds the rows' states, which end at `ends`."""
    headers = np.zeros(len(ends), _HEADER_DTYPE)
    headers["epoch"], headers["format"], headers["major"], headers["minor"] = epoch, FORMAT, *VERSION
    for place, name in enumerate(("ledger", "entry", "batch")):
        headers[name] = positions[:, place] + 1
    headers["length"] = np.diff(ends, prepend=0)
    crcs = np.empty(len(ends), np.int64)
    tiles.checksums(headers.view(np.uint8), data, ends, crcs)
    headers["crc"] = crcs
    return headers.tobytes()


class Operations(NamedTuple):
    """Folds and reads of one row set, in the order of execution.

    Attributes
    ----------
    kinds
        int8[N]: 0 fold, 1 read.
    slots
        int64[N]: the row's slot; -1 for none (a fold does nothing, a read finds an unknown entity).
    times
        int64[N]: event time of a fold, as-of time of a read.
    values
        float64[folds, columns]: the columns of the folds, in order.
    positions
        int64[folds, 3]: the positions of the folds. A fold that is not beyond its row's position does nothing.
    """

    kinds: npt.NDArray[np.int8]
    slots: Ints
    times: Ints
    values: Floats
    positions: Ints


class Reads(NamedTuple):
    """Results of the reads of an `Operations`.

    Attributes
    ----------
    parts
        float64[R, W, width]: partial aggregates.
    cuts
        int64[R, 3]: position of the row read, -1 if there was none.
    newest
        int64[R]: newest event time in the row, -2**62 if there was none.
    behind
        Number of inexact reads: older than the ticks that the row still holds.
    """

    parts: Floats
    cuts: Ints
    newest: Ints
    behind: int


@dataclass
class _Pool:
    """Ticks of all rows as linked lists in one growing array."""

    ticks: Ints
    following: Ints
    states: Floats
    free: int

    @classmethod
    def make(cls, size: int, width: int) -> _Pool:
        following = np.arange(1, size + 1, dtype=np.int64)
        following[-1] = -1
        return cls(np.zeros(size, np.int64), following, np.empty((size, width)), 0)

    def grow(self) -> None:
        size = len(self.ticks)
        following = np.arange(size + 1, 2 * size + 1, dtype=np.int64)
        following[-1] = self.free
        self.ticks = np.concatenate([self.ticks, np.zeros(size, np.int64)])
        self.states = np.concatenate([self.states, np.empty_like(self.states)])
        self.following = np.concatenate([self.following, following])
        self.free = size


class RowSet:
    """The rows of one view in one partition, by entity key.

    Parameters
    ----------
    layout
        The view's layout.
    capacity
        Initial number of rows; it grows as needed.
    """

    def __init__(self, layout: Layout, capacity: int = 256) -> None:
        self.layout = layout
        self._slots: dict[str, int] = {}
        self._keys: list[str | None] = []
        self._free: list[int] = []
        self._newest = np.full(capacity, NEVER, np.int64)
        self._positions = np.full((capacity, 3), -2, np.int64)
        self._heads = np.full((capacity, 2), -1, np.int64)
        self._tiles = np.full((capacity, layout.slots), NEVER, np.int64)
        self._states = np.empty((capacity, layout.slots, layout.width))
        self._pool = _Pool.make(4 * capacity, layout.width)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def row_bytes(self) -> int:
        """Bytes that a row takes in memory, without its ticks."""
        columns = (self._newest, self._positions, self._heads, self._tiles, self._states)
        return sum(column[:1].nbytes for column in columns)

    @property
    def tick_bytes(self) -> int:
        """Bytes that the ticks of all rows take, free places included."""
        return self._pool.ticks.nbytes + self._pool.following.nbytes + self._pool.states.nbytes

    def __contains__(self, key: str) -> bool:
        return key in self._slots

    def slot(self, key: str) -> int:
        """Return the slot of a key's row, -1 if there is none."""
        return self._slots.get(key, -1)

    def add(self, key: str, data: bytes | None = None) -> int:
        """Add a row, empty or loaded from its stored bytes; return its slot. Bytes replace a row that is already there.

        Raises
        ------
        Unreadable
            The stored bytes are not a row of the view; nothing is changed.
        """
        # Validate before anything changes.
        words = None if data is None else state_words(self.layout, data)
        slot = self._slots.get(key)
        if slot is None:
            slot = self._free.pop() if self._free else self._new_slot()
            self._slots[key] = slot
            self._keys[slot] = key
        if data is not None and words is not None:
            self._load(slot, data, words)
        return slot

    def key(self, slot: int) -> str:
        """Return the key of the row in a slot."""
        key = self._keys[slot]
        assert key is not None
        return key

    def forget(self, keys: Sequence[str]) -> None:
        """Drop rows from memory (they stay in the store)."""
        for key in keys:
            slot = self._slots.pop(key)
            self._keys[slot] = None
            self._reset(slot)
            self._free.append(slot)

    def forget_before(self, time: int) -> None:
        """Drop the rows whose newest event is before a time, and those without an event."""
        old = np.flatnonzero(self._newest[: len(self._keys)] < time).tolist()
        self.forget([key for slot in old if (key := self._keys[slot]) is not None])

    def run(self, operations: Operations) -> Reads:
        """Execute folds and reads in order."""
        kinds, slots, times, values, positions = operations
        reads = int(np.count_nonzero(kinds))
        layout = self.layout
        parts = np.empty((reads, len(layout.windows), layout.width))
        cuts = np.full((reads, 3), -1, np.int64)
        newest = np.full(reads, NEVER, np.int64)
        progress = np.zeros(4, np.int64)
        while True:
            pool = self._pool
            progress[3] = pool.free
            done = tiles.run(
                layout.plan, layout.windows, layout.empty, layout.view.resolution, layout.view.keep,
                self._newest, self._positions, self._heads, self._tiles, self._states,
                pool.ticks, pool.following, pool.states,
                kinds, slots, times, values, positions, parts, cuts, newest, progress,
            )  # fmt: skip
            pool.free = int(progress[3])
            if done:
                return Reads(parts, cuts, newest, int(progress[2]))
            pool.grow()

    def dump(self, slots: Sequence[int], epoch: int) -> list[bytes]:
        """Return the rows in these slots as bytes: fence (epoch, position), format, length, checksum, then the state.

        The state is 8-byte words in native (little) order: newest event time, number of tiles, number of ticks; each
        tile, by slot, as slot, index, partial aggregate; each tick, oldest first, as tick number, partial aggregate.
        """
        index = np.asarray(slots, np.int64)
        sizes = np.empty(len(index), np.int64)
        pool = self._pool
        tiles.sizes(index, self._tiles, self._heads, pool.following, self.layout.width, sizes)
        ends = np.cumsum(sizes)
        words = np.empty(int(ends[-1]) if len(ends) else 0)
        tiles.dump(
            index, self._newest, self._heads, self._tiles, self._states,
            pool.ticks, pool.following, pool.states, words.view(np.int64), words,
        )  # fmt: skip
        data, ends = words.view(np.uint8), ends * 8
        headers, states = _headers(epoch, self._positions[index], data, ends), data.tobytes()
        starts = [0, *ends.tolist()]
        return [
            headers[row * HEADER_BYTES : (row + 1) * HEADER_BYTES] + states[starts[row] : starts[row + 1]]
            for row in range(len(index))
        ]

    def _new_slot(self) -> int:
        slot = len(self._keys)
        self._keys.append(None)
        if slot >= len(self._newest):
            self._newest = _grown(self._newest, NEVER)
            self._positions = _grown(self._positions, -2)
            self._heads = _grown(self._heads, -1)
            self._tiles = _grown(self._tiles, NEVER)
            self._states = _grown(self._states, 0)
        return slot

    def _reset(self, slot: int) -> None:
        node, pool = int(self._heads[slot, 0]), self._pool
        while node >= 0:
            following = int(pool.following[node])
            pool.following[node] = pool.free
            pool.free = node
            node = following
        self._newest[slot] = NEVER
        self._positions[slot] = -2
        self._heads[slot] = -1
        self._tiles[slot] = NEVER

    def _load(self, slot: int, data: bytes, words: Floats) -> None:
        self._reset(slot)
        _epoch, ledger, entry, batch = _FENCE.unpack_from(data)
        self._positions[slot] = (ledger - 1, entry - 1, batch - 1)
        ints = words.view(np.int64)
        while True:
            pool = self._pool
            free = tiles.load(
                slot, ints, words, self._newest, self._heads, self._tiles, self._states,
                pool.ticks, pool.following, pool.states, pool.free,
            )  # fmt: skip
            if free != -2:
                pool.free = free
                return
            pool.grow()


def _grown(array: _Array, fill: int) -> _Array:
    return np.concatenate([array, np.full_like(array, fill)])  # type: ignore[return-value]
