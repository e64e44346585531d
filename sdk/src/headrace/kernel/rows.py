"""Rows: what a view knows of each entity, folded event by event and read as of any recent time.

A row holds, for each window, a ring of *tiles* (a partial aggregate of one hop each) and, for its
newest past, sparse *ticks* (a partial aggregate of one resolution step each). A tick flows into the
tiles once it is older than the row's newest event by `keep`; until then a reader picks the ticks that
lie before its own time, so a row can be ahead of its reader. Tile and tick are merged in time order and
always in the same association, so a value does not depend on whether a tick has flowed already.

Partial aggregates are float64 vectors: count [n], sum [s], mean [n, s], min [v], max [v],
std [n, mean, M2] (Welford's recurrence; merged as in Chan, Golub and LeVeque, "Updating formulae and a
pairwise algorithm for computing sample variances", 1979), last [time, v].
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from headrace.definition import ViewDefinition
from headrace.kernel.compiled import compiled

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_Array = TypeVar("_Array", bound=npt.NDArray[Any])

_COUNT, _SUM, _MEAN, _MIN, _MAX, _STD, _LAST = range(7)
_OPERATIONS = {"count": _COUNT, "sum": _SUM, "mean": _MEAN, "min": _MIN, "max": _MAX, "std": _STD, "last": _LAST}
_WIDTH = {_COUNT: 1, _SUM: 1, _MEAN: 2, _MIN: 1, _MAX: 1, _STD: 3, _LAST: 2}

_NEVER = -(2**62)
_HEADER = struct.Struct(">QQQIi")
#: Bytes of a row that decide whether it may be replaced: epoch and position, comparable as bytes.
FENCE_BYTES = 28
_WORDS_BEFORE = 3


class Layout:
    """How a view's partial aggregates and tiles lie in memory."""

    def __init__(self, view: ViewDefinition) -> None:
        self.view = view
        columns = list(dict.fromkeys(own.column for own in view.aggregates if own.column is not None))
        self.columns: tuple[str, ...] = tuple(columns)
        operations = [_OPERATIONS[own.operation] for own in view.aggregates]
        offsets = np.cumsum([0, *(_WIDTH[operation] for operation in operations)])
        self.width = int(offsets[-1])
        #: int64[A, 3]: operation, offset in the partial aggregate, column (-1: every event counts).
        self.plan = np.array(
            [
                (operation, offset, -1 if own.column is None else columns.index(own.column))
                for operation, offset, own in zip(operations, offsets, view.aggregates, strict=False)
            ],
            np.int64,
        ).reshape(-1, 3)
        tiles = [window.size // window.hop for window in view.windows]
        slots = [count + -(-view.keep // window.hop) + 1 for count, window in zip(tiles, view.windows, strict=True)]
        starts = np.cumsum([0, *slots])
        self.slots = int(starts[-1])
        #: int64[W, 4]: hop, tiles of the window, first slot of its ring, slots of its ring.
        self.windows = np.array(
            [(w.hop, tiles[i], starts[i], slots[i]) for i, w in enumerate(view.windows)], np.int64
        ).reshape(-1, 4)
        self.empty = np.empty(self.width)
        _clear(self.plan, self.empty)

    def value_index(self, aggregate: str, window: str) -> int:
        """The column of `finish` that holds an aggregate over a window."""
        aggregates = [own.name for own in self.view.aggregates]
        windows = [own.name for own in self.view.windows]
        return windows.index(window) * len(aggregates) + aggregates.index(aggregate)

    def merge(self, total: Floats, part: Floats) -> None:
        """Merge what one more partition holds into what those before it hold, in place."""
        _merge_all(self.plan, total, part)

    def finish(self, parts: Sequence[Floats]) -> Floats:
        """Merge what partitions hold, in their order, into values.

        Parameters
        ----------
        parts
            For each partition float64[N, W, width], as `RowSet.run` reads them.

        Returns
        -------
        float64[N, W * A]
            NaN where nothing is known.
        """
        total = parts[0].copy()
        for part in parts[1:]:
            self.merge(total, part)
        values = np.empty((len(total), len(self.windows) * len(self.plan)))
        _finish(self.plan, total, values)
        return values


class Operations(NamedTuple):
    """Folds and reads of one row set, in the order of their execution.

    Attributes
    ----------
    kinds
        int8[N]: 0 fold, 1 read.
    slots
        int64[N]: the row's slot; -1 is none (a fold does nothing, a read finds an unknown entity).
    times
        int64[N]: event time of a fold, as-of time of a read.
    values
        float64[folds, columns]: the columns of the folds, in their order.
    positions
        int64[folds, 3]: their positions. A fold that is not beyond its row's position does nothing.
    """

    kinds: npt.NDArray[np.int8]
    slots: Ints
    times: Ints
    values: Floats
    positions: Ints


class Reads(NamedTuple):
    """What the reads of an `Operations` found.

    Attributes
    ----------
    parts
        float64[R, W, width]: partial aggregates.
    cuts
        int64[R, 3]: position of the row read, -1 where there was none.
    newest
        int64[R]: newest event time in the row, -2**62 where there was none.
    behind
        Reads older than what the row still holds single ticks for: not exact.
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
        Rows to make room for at first; it grows.
    """

    def __init__(self, layout: Layout, capacity: int = 256) -> None:
        self.layout = layout
        self._slots: dict[str, int] = {}
        self._keys: list[str | None] = []
        self._free: list[int] = []
        self._newest = np.full(capacity, _NEVER, np.int64)
        self._positions = np.full((capacity, 3), -2, np.int64)
        self._heads = np.full((capacity, 2), -1, np.int64)
        self._tiles = np.full((capacity, layout.slots), _NEVER, np.int64)
        self._states = np.empty((capacity, layout.slots, layout.width))
        self._pool = _Pool.make(4 * capacity, layout.width)

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, key: str) -> bool:
        return key in self._slots

    def slot(self, key: str) -> int:
        """The slot of a key's row, -1 if there is none."""
        return self._slots.get(key, -1)

    def add(self, key: str, stored: bytes | None = None) -> int:
        """Make a row, empty or as stored; returns its slot."""
        slot = self._slots.get(key)
        if slot is None:
            slot = self._free.pop() if self._free else self._new_slot()
            self._slots[key] = slot
            self._keys[slot] = key
        if stored is not None:
            self._load(slot, stored)
        return slot

    def key(self, slot: int) -> str:
        """The key of the row in a slot."""
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

    def run(self, operations: Operations) -> Reads:
        """Execute folds and reads in their order."""
        kinds, slots, times, values, positions = operations
        reads = int(np.count_nonzero(kinds))
        layout = self.layout
        parts = np.empty((reads, len(layout.windows), layout.width))
        cuts = np.full((reads, 3), -1, np.int64)
        newest = np.full(reads, _NEVER, np.int64)
        progress = np.zeros(4, np.int64)
        while True:
            pool = self._pool
            progress[3] = pool.free
            done = _run(
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
        """The rows in these slots as bytes: fence (epoch, position), then the state.

        The layout after the fence and four bytes of padding is 8-byte words in native (little) order:
        newest event time, number of tiles, number of ticks; each tile as slot, index, partial
        aggregate; each tick, oldest first, as tick number, partial aggregate.
        """
        index = np.asarray(slots, np.int64)
        sizes = np.empty(len(index), np.int64)
        pool = self._pool
        _sizes(index, self._tiles, self._heads, pool.following, self.layout.width, sizes)
        ends = np.cumsum(sizes)
        words = np.empty(int(ends[-1]) if len(ends) else 0)
        _dump(
            index, self._newest, self._heads, self._tiles, self._states,
            pool.ticks, pool.following, pool.states, words.view(np.int64), words,
        )  # fmt: skip
        positions = self._positions[index].tolist()
        data = words.tobytes()
        starts = [0, *(ends * 8).tolist()]
        return [
            _HEADER.pack(epoch, ledger + 1, entry + 1, batch + 1, 0) + data[starts[i] : starts[i + 1]]
            for i, (ledger, entry, batch) in enumerate(positions)
        ]

    def _new_slot(self) -> int:
        slot = len(self._keys)
        self._keys.append(None)
        if slot >= len(self._newest):
            self._newest = _grown(self._newest, _NEVER)
            self._positions = _grown(self._positions, -2)
            self._heads = _grown(self._heads, -1)
            self._tiles = _grown(self._tiles, _NEVER)
            self._states = _grown(self._states, 0)
        return slot

    def _reset(self, slot: int) -> None:
        node, pool = int(self._heads[slot, 0]), self._pool
        while node >= 0:
            following = int(pool.following[node])
            pool.following[node] = pool.free
            pool.free = node
            node = following
        self._newest[slot] = _NEVER
        self._positions[slot] = -2
        self._heads[slot] = -1
        self._tiles[slot] = _NEVER

    def _load(self, slot: int, stored: bytes) -> None:
        self._reset(slot)
        _epoch, ledger, entry, batch, _ = _HEADER.unpack_from(stored)
        self._positions[slot] = (ledger - 1, entry - 1, batch - 1)
        words = np.frombuffer(stored, np.float64, offset=_HEADER.size)
        ints = words.view(np.int64)
        while True:
            pool = self._pool
            free = _load(
                slot, ints, words, self._newest, self._heads, self._tiles, self._states,
                pool.ticks, pool.following, pool.states, pool.free,
            )  # fmt: skip
            if free != -2:
                pool.free = free
                return
            pool.grow()


def _grown(array: _Array, fill: int) -> _Array:
    return np.concatenate([array, np.full_like(array, fill)])  # type: ignore[return-value]


@compiled
def _clear(plan: Ints, state: Floats) -> None:
    for index in range(plan.shape[0]):
        op, at = plan[index, 0], plan[index, 1]
        if op == _MIN or op == _MAX:
            state[at] = math.nan
        elif op == _LAST:
            state[at] = -math.inf
            state[at + 1] = math.nan
        else:
            state[at] = 0.0
            if op == _MEAN or op == _STD:
                state[at + 1] = 0.0
            if op == _STD:
                state[at + 2] = 0.0


@compiled
def _add(plan: Ints, state: Floats, time: int, values: Floats) -> None:
    for index in range(plan.shape[0]):
        op, at, column = plan[index, 0], plan[index, 1], plan[index, 2]
        x = 0.0
        if column >= 0:
            # Minus zero becomes zero: which of two equal values came first must not be seen.
            x = values[column] + 0.0
            if math.isnan(x):
                continue
        if op == _COUNT:
            state[at] += 1.0
        elif op == _SUM:
            state[at] += x
        elif op == _MEAN:
            state[at] += 1.0
            state[at + 1] += x
        elif op == _MIN:
            if not state[at] <= x:
                state[at] = x
        elif op == _MAX:
            if not state[at] >= x:
                state[at] = x
        elif op == _STD:
            state[at] += 1.0
            delta = x - state[at + 1]
            state[at + 1] += delta / state[at]
            state[at + 2] += delta * (x - state[at + 1])
        elif float(time) >= state[at]:
            state[at] = float(time)
            state[at + 1] = x


@compiled
def _merge(plan: Ints, state: Floats, other: Floats) -> None:
    """`other` is the later one."""
    for index in range(plan.shape[0]):
        op, at = plan[index, 0], plan[index, 1]
        if op == _COUNT or op == _SUM:
            state[at] += other[at]
        elif op == _MEAN:
            state[at] += other[at]
            state[at + 1] += other[at + 1]
        elif op == _MIN:
            if not math.isnan(other[at]) and not state[at] <= other[at]:
                state[at] = other[at]
        elif op == _MAX:
            if not math.isnan(other[at]) and not state[at] >= other[at]:
                state[at] = other[at]
        elif op == _STD:
            n = other[at]
            if n > 0.0:
                if state[at] == 0.0:
                    state[at], state[at + 1], state[at + 2] = n, other[at + 1], other[at + 2]
                else:
                    total = state[at] + n
                    delta = other[at + 1] - state[at + 1]
                    state[at + 1] += delta * n / total
                    state[at + 2] += other[at + 2] + delta * delta * state[at] * n / total
                    state[at] = total
        elif other[at] >= state[at]:
            state[at] = other[at]
            state[at + 1] = other[at + 1]


@compiled
def _merge_all(plan: Ints, total: Floats, part: Floats) -> None:
    for row in range(total.shape[0]):
        for window in range(total.shape[1]):
            _merge(plan, total[row, window], part[row, window])


@compiled
def _finish(plan: Ints, total: Floats, values: Floats) -> None:
    count = plan.shape[0]
    for row in range(total.shape[0]):
        for window in range(total.shape[1]):
            state = total[row, window]
            for index in range(count):
                op, at = plan[index, 0], plan[index, 1]
                value = state[at]
                if op == _MEAN:
                    value = state[at + 1] / state[at] if state[at] > 0.0 else math.nan
                elif op == _STD:
                    value = math.sqrt(state[at + 2] / (state[at] - 1.0)) if state[at] > 1.0 else math.nan
                elif op == _LAST:
                    value = state[at + 1]
                values[row, window * count + index] = value


@compiled
def _into_tiles(plan: Ints, windows: Ints, start: int, tiles: Ints, states: Floats, tick: Floats) -> None:
    """Merge a tick that starts at `start` into its tile of each window, unless that has left the ring."""
    for window in range(windows.shape[0]):
        hop, first, slots = windows[window, 0], windows[window, 2], windows[window, 3]
        tile = start // hop
        slot = first + tile % slots
        if tiles[slot] < tile:
            tiles[slot] = tile
            _clear(plan, states[slot])
        if tiles[slot] == tile:
            _merge(plan, states[slot], tick)


@compiled
def _read(
    plan: Ints, windows: Ints, empty: Floats, resolution: int, time: int, head: int, tiles: Ints, states: Floats,
    ticks: Ints, following: Ints, tick_states: Floats, scratch: Floats, out: Floats,
) -> None:  # fmt: skip
    end = time // resolution
    for window in range(windows.shape[0]):
        hop, count, first, slots = windows[window]
        total = out[window]
        total[:] = empty
        newest = time // hop
        oldest = newest - count + 1
        node = head
        per_tile = hop // resolution
        while node >= 0 and ticks[node] < oldest * per_tile:
            node = following[node]
        for tile in range(oldest, newest + 1):
            slot = first + tile % slots
            present = tiles[slot] == tile
            if node >= 0 and ticks[node] < end and ticks[node] // per_tile == tile:
                scratch[:] = states[slot] if present else empty
                while node >= 0 and ticks[node] < end and ticks[node] // per_tile == tile:
                    _merge(plan, scratch, tick_states[node])
                    node = following[node]
                _merge(plan, total, scratch)
            elif present:
                _merge(plan, total, states[slot])


@compiled
def _fold(
    plan: Ints, windows: Ints, empty: Floats, resolution: int, keep: int, slot: int, time: int, values: Floats,
    newest: Ints, heads: Ints, tiles: Ints, states: Floats,
    ticks: Ints, following: Ints, tick_states: Floats, scratch: Floats, free: int,
) -> int:  # fmt: skip
    """Fold one event; returns the first free node. The caller made sure that one is free."""
    newest[slot] = max(newest[slot], time)
    held = (newest[slot] - keep) // resolution
    node = heads[slot, 0]
    while node >= 0 and ticks[node] < held:
        _into_tiles(plan, windows, ticks[node] * resolution, tiles[slot], states[slot], tick_states[node])
        after = following[node]
        following[node] = free
        free = node
        node = after
    heads[slot, 0] = node
    if node < 0:
        heads[slot, 1] = -1
    tick = time // resolution
    if tick < held:
        scratch[:] = empty
        _add(plan, scratch, time, values)
        _into_tiles(plan, windows, tick * resolution, tiles[slot], states[slot], scratch)
        return free
    last = heads[slot, 1]
    before = -1
    if last >= 0 and ticks[last] <= tick:
        before = last
    else:
        node = heads[slot, 0]
        while node >= 0 and ticks[node] <= tick:
            before = node
            node = following[node]
    if before >= 0 and ticks[before] == tick:
        _add(plan, tick_states[before], time, values)
        return free
    node = free
    free = following[node]
    ticks[node] = tick
    tick_states[node] = empty
    _add(plan, tick_states[node], time, values)
    if before < 0:
        following[node] = heads[slot, 0]
        heads[slot, 0] = node
    else:
        following[node] = following[before]
        following[before] = node
    if following[node] < 0:
        heads[slot, 1] = node
    return free


@compiled
def _run(
    plan: Ints, windows: Ints, empty: Floats, resolution: int, keep: int,
    newest: Ints, row_positions: Ints, heads: Ints, tiles: Ints, states: Floats,
    ticks: Ints, following: Ints, tick_states: Floats,
    kinds: npt.NDArray[np.int8], slots: Ints, times: Ints, values: Floats, positions: Ints,
    parts: Floats, cuts: Ints, read_newest: Ints, progress: Ints,
) -> bool:  # fmt: skip
    """progress: folds done, reads done, reads behind, first free node. False: more nodes are needed."""
    scratch = np.empty(plan.shape[0] * 3)[: tick_states.shape[1]]
    fold, read, behind, free = progress
    for index in range(fold + read, kinds.shape[0]):
        slot, time = slots[index], times[index]
        if kinds[index] == 0:
            if slot >= 0:
                if free < 0:
                    progress[:] = fold, read, behind, free
                    return False
                at, own = positions[fold], row_positions[slot]
                if (at[0], at[1], at[2]) > (own[0], own[1], own[2]):
                    free = _fold(
                        plan, windows, empty, resolution, keep, slot, time, values[fold],
                        newest, heads, tiles, states, ticks, following, tick_states, scratch, free,
                    )  # fmt: skip
                    row_positions[slot] = at
            fold += 1
        else:
            if slot >= 0 and newest[slot] > _NEVER:
                _read(
                    plan, windows, empty, resolution, time, heads[slot, 0], tiles[slot], states[slot],
                    ticks, following, tick_states, scratch, parts[read],
                )  # fmt: skip
                cuts[read] = row_positions[slot]
                read_newest[read] = newest[slot]
                if time // resolution < (newest[slot] - keep) // resolution:
                    behind += 1
            else:
                parts[read] = empty
            read += 1
    progress[:] = fold, read, behind, free
    return True


@compiled
def _sizes(index: Ints, tiles: Ints, heads: Ints, following: Ints, width: int, sizes: Ints) -> None:
    for at in range(index.shape[0]):
        slot = index[at]
        words = _WORDS_BEFORE
        for tile in range(tiles.shape[1]):
            if tiles[slot, tile] > _NEVER:
                words += 2 + width
        node = heads[slot, 0]
        while node >= 0:
            words += 1 + width
            node = following[node]
        sizes[at] = words


@compiled
def _dump(
    index: Ints, newest: Ints, heads: Ints, tiles: Ints, states: Floats,
    ticks: Ints, following: Ints, tick_states: Floats, ints: Ints, words: Floats,
) -> None:  # fmt: skip
    width = tick_states.shape[1]
    at = 0
    for row in range(index.shape[0]):
        slot = index[row]
        start = at
        ints[at] = newest[slot]
        at += _WORDS_BEFORE
        held = 0
        for tile in range(tiles.shape[1]):
            if tiles[slot, tile] > _NEVER:
                ints[at] = tile
                ints[at + 1] = tiles[slot, tile]
                words[at + 2 : at + 2 + width] = states[slot, tile]
                at += 2 + width
                held += 1
        ints[start + 1] = held
        held = 0
        node = heads[slot, 0]
        while node >= 0:
            ints[at] = ticks[node]
            words[at + 1 : at + 1 + width] = tick_states[node]
            at += 1 + width
            held += 1
            node = following[node]
        ints[start + 2] = held


@compiled
def _load(
    slot: int, ints: Ints, words: Floats, newest: Ints, heads: Ints, tiles: Ints, states: Floats,
    ticks: Ints, following: Ints, tick_states: Floats, free: int,
) -> int:  # fmt: skip
    """Fill an empty slot; returns the first free node, or -2 where there are too few (nothing is changed)."""
    width = tick_states.shape[1]
    needed, node = ints[2], free
    for _ in range(needed):
        if node < 0:
            return -2
        node = following[node]
    newest[slot] = ints[0]
    at = _WORDS_BEFORE
    for _ in range(ints[1]):
        tile = ints[at]
        tiles[slot, tile] = ints[at + 1]
        states[slot, tile] = words[at + 2 : at + 2 + width]
        at += 2 + width
    last = -1
    for _ in range(needed):
        node = free
        free = following[node]
        ticks[node] = ints[at]
        tick_states[node] = words[at + 1 : at + 1 + width]
        following[node] = -1
        if last < 0:
            heads[slot, 0] = node
        else:
            following[last] = node
        last = node
        at += 1 + width
    heads[slot, 1] = last
    return free
