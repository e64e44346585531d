"""Compiled inner loops of rows: folding an event into ticks and tiles, and reading them as of a time.

They are in one file because numba checks only that file to decide whether its cache on disk is still valid.
`AGGREGATES` lists the aggregates; `_add`, `_merge` and `finish` hold their arithmetic.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.engine.arrays import Floats, Ints
from headrace.engine.kernel.compilation import compiled

_COUNT, _SUM, _MEAN, _MIN, _MAX, _STD, _LAST = range(7)


class AggregateKind(NamedTuple):
    """A kind of aggregate. Its partial aggregates are float64 vectors that can be merged.

    Attributes
    ----------
    number
        Its number in a plan, by which compiled code knows it.
    empty
        The partial aggregate of no events.
    """

    number: int
    empty: tuple[float, ...]


#: All kinds of aggregates, by the operation that a view's definition names.
AGGREGATES = {
    "count": AggregateKind(_COUNT, (0.0,)),  # n
    "sum": AggregateKind(_SUM, (0.0,)),  # the sum
    "mean": AggregateKind(_MEAN, (0.0, 0.0)),  # n, the sum
    "min": AggregateKind(_MIN, (math.nan,)),  # the value
    "max": AggregateKind(_MAX, (math.nan,)),  # the value
    # n, the mean, M2: Welford's recurrence, merged as in Chan, Golub and LeVeque, "Updating formulae and a pairwise
    # algorithm for computing sample variances", 1979.
    "std": AggregateKind(_STD, (0.0, 0.0, 0.0)),
    "last": AggregateKind(_LAST, (-math.inf, math.nan)),  # the time, the value
}

#: Earlier than any time, tile and tick.
NEVER = -(2**62)
#: A stored row: its header (see `headrace.engine.kernel.rows`), then words: newest event time, numbers of tiles and
#: ticks.
HEADER_BYTES = 40
_FORMAT_AT = 28
#: `headrace.wire.formats.FORMAT`, as a literal: numba renews its cache only when this file changes.
ROW_FORMAT = 1
WORDS_BEFORE = 3


@compiled
def _add(plan: Ints, state: Floats, time: int, values: Floats) -> None:
    for index in range(plan.shape[0]):
        op, at, column = plan[index, 0], plan[index, 1], plan[index, 2]
        x = 0.0
        if column >= 0:
            # Turn -0.0 into 0.0: the result must not show which of two equal values came first.
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
    """Merge `other`, which is later, into `state`."""
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
def merge_all(plan: Ints, total: Floats, part: Floats) -> None:
    """Merge the state of each row and window into a total."""
    for row in range(total.shape[0]):
        for window in range(total.shape[1]):
            _merge(plan, total[row, window], part[row, window])


@compiled
def finish(plan: Ints, total: Floats, values: Floats) -> None:
    """Compute the value of each aggregate from its merged state."""
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
def _into_tiles(
    plan: Ints, windows: Ints, empty: Floats, start: int, tiles: Ints, states: Floats, tick: Floats
) -> None:  # fmt: skip
    """Merge a tick that starts at `start` into its tile of each window, unless that tile has left the ring."""
    for window in range(windows.shape[0]):
        hop, first, slots = windows[window, 0], windows[window, 2], windows[window, 3]
        tile = start // hop
        slot = first + tile % slots
        if tiles[slot] < tile:
            tiles[slot] = tile
            states[slot] = empty
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
    """Fold one event and return the first free node. The caller has made sure that one is free."""
    newest[slot] = max(newest[slot], time)
    first = (newest[slot] - keep) // resolution
    node = heads[slot, 0]
    while node >= 0 and ticks[node] < first:
        _into_tiles(plan, windows, empty, ticks[node] * resolution, tiles[slot], states[slot], tick_states[node])
        after = following[node]
        following[node] = free
        free = node
        node = after
    heads[slot, 0] = node
    if node < 0:
        heads[slot, 1] = -1
    tick = time // resolution
    if tick < first:
        scratch[:] = empty
        _add(plan, scratch, time, values)
        _into_tiles(plan, windows, empty, tick * resolution, tiles[slot], states[slot], scratch)
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
def run(
    plan: Ints, windows: Ints, empty: Floats, resolution: int, keep: int,
    newest: Ints, row_positions: Ints, heads: Ints, tiles: Ints, states: Floats,
    ticks: Ints, following: Ints, tick_states: Floats,
    kinds: npt.NDArray[np.int8], slots: Ints, times: Ints, values: Floats, positions: Ints,
    parts: Floats, cuts: Ints, read_newest: Ints, progress: Ints,
) -> bool:  # fmt: skip
    """Execute operations; return False if more nodes are needed.

    `progress` holds the folds done, the reads done, the reads behind and the first free node.
    """
    scratch = np.empty(tick_states.shape[1])
    fold, read, behind, free = progress
    for index in range(fold + read, kinds.shape[0]):
        slot, time = slots[index], times[index]
        if kinds[index] == 0:
            if slot >= 0:
                if free < 0:
                    progress[:] = fold, read, behind, free
                    return False
                at, last = positions[fold], row_positions[slot]
                if (at[0], at[1], at[2]) > (last[0], last[1], last[2]):
                    free = _fold(
                        plan, windows, empty, resolution, keep, slot, time, values[fold],
                        newest, heads, tiles, states, ticks, following, tick_states, scratch, free,
                    )  # fmt: skip
                    row_positions[slot] = at
            fold += 1
        else:
            if slot >= 0 and newest[slot] > NEVER:
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
def sizes(index: Ints, tiles: Ints, heads: Ints, following: Ints, width: int, sizes: Ints) -> None:
    """Compute how many words each stored row takes."""
    for at in range(index.shape[0]):
        slot = index[at]
        words = WORDS_BEFORE
        for tile in range(tiles.shape[1]):
            if tiles[slot, tile] > NEVER:
                words += 2 + width
        node = heads[slot, 0]
        while node >= 0:
            words += 1 + width
            node = following[node]
        sizes[at] = words


@compiled
def dump(
    index: Ints, newest: Ints, heads: Ints, tiles: Ints, states: Floats,
    ticks: Ints, following: Ints, tick_states: Floats, ints: Ints, words: Floats,
) -> None:  # fmt: skip
    """Write rows as words: integers and floats share one buffer."""
    width = tick_states.shape[1]
    at = 0
    for row in range(index.shape[0]):
        slot = index[row]
        start = at
        ints[at] = newest[slot]
        at += WORDS_BEFORE
        count = 0
        for tile in range(tiles.shape[1]):
            if tiles[slot, tile] > NEVER:
                ints[at] = tile
                ints[at + 1] = tiles[slot, tile]
                words[at + 2 : at + 2 + width] = states[slot, tile]
                at += 2 + width
                count += 1
        ints[start + 1] = count
        count = 0
        node = heads[slot, 0]
        while node >= 0:
            ints[at] = ticks[node]
            words[at + 1 : at + 1 + width] = tick_states[node]
            at += 1 + width
            count += 1
            node = following[node]
        ints[start + 2] = count


def _crc_tables() -> Ints:
    """Return the tables of CRC-32 (that of zlib) for eight bytes at a time, after Kounavis and Berry (2005)."""
    tables = np.zeros((8, 256), np.int64)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
        tables[0, byte] = crc
    for table in range(1, 8):
        before = tables[table - 1]
        tables[table] = (before >> 8) ^ tables[0, before & 255]
    return tables


_CRC = _crc_tables()


@compiled
def crc32(data: npt.NDArray[np.uint8], first: int, last: int, crc: int) -> int:
    """Return the CRC-32 of bytes that follow others with CRC-32 `crc`: like `zlib.crc32`, but for compiled code."""
    crc = int(crc ^ 0xFFFFFFFF)
    at = first
    while at + 8 <= last:
        word = (
            np.int64(data[at])
            | np.int64(data[at + 1]) << 8
            | np.int64(data[at + 2]) << 16
            | np.int64(data[at + 3]) << 24
        )
        crc = int(crc ^ word)
        crc = (
            _CRC[7, crc & 255]
            ^ _CRC[6, crc >> 8 & 255]
            ^ _CRC[5, crc >> 16 & 255]
            ^ _CRC[4, crc >> 24]
            ^ _CRC[3, data[at + 4]]
            ^ _CRC[2, data[at + 5]]
            ^ _CRC[1, data[at + 6]]
            ^ _CRC[0, data[at + 7]]
        )
        at += 8
    while at < last:
        crc = _CRC[0, (crc ^ data[at]) & 255] ^ crc >> 8
        at += 1
    return int(crc ^ 0xFFFFFFFF)


@compiled
def checksums(headers: npt.NDArray[np.uint8], data: npt.NDArray[np.uint8], ends: Ints, crcs: Ints) -> None:
    """Compute the CRC-32 of the header (without its last four bytes) and the state of each row."""
    first = 0
    for row in range(ends.shape[0]):
        crc = crc32(headers, row * HEADER_BYTES, (row + 1) * HEADER_BYTES - 4, 0)
        crcs[row] = crc32(data, first, ends[row], crc)
        first = ends[row]


@compiled
def well_formed(ints: Ints, slots: int, width: int) -> bool:
    """Return whether words are a row with this many slots and this width of a partial aggregate: `load` trusts them."""
    size = ints.shape[0]
    if size < WORDS_BEFORE:
        return False
    tile_count, tick_count = ints[1], ints[2]
    # Bound the counts before they are multiplied.
    if tile_count < 0 or tile_count > slots or tick_count < 0 or tick_count > size:
        return False
    if size != WORDS_BEFORE + tile_count * (2 + width) + tick_count * (1 + width):
        return False
    if ints[0] <= NEVER:
        return bool(ints[0] == NEVER and tile_count == 0 and tick_count == 0)
    last = -1
    for index in range(tile_count):
        at = WORDS_BEFORE + index * (2 + width)
        if ints[at] <= last or ints[at] >= slots or ints[at + 1] <= NEVER:
            return False
        last = ints[at]
    first = WORDS_BEFORE + tile_count * (2 + width)
    for index in range(1, tick_count):
        at = first + index * (1 + width)
        if ints[at] <= ints[at - 1 - width]:
            return False
    return True


@compiled
def load(
    slot: int, ints: Ints, words: Floats, newest: Ints, heads: Ints, tiles: Ints, states: Floats,
    ticks: Ints, following: Ints, tick_states: Floats, free: int,
) -> int:  # fmt: skip
    """Fill an empty slot from a `well_formed` row, and return the first free node.

    If there are too few nodes, return -2 and change nothing.
    """
    width = tick_states.shape[1]
    count, node = ints[2], free
    for _ in range(count):
        if node < 0:
            return -2
        node = following[node]
    newest[slot] = ints[0]
    at = WORDS_BEFORE
    for _ in range(ints[1]):
        tile = ints[at]
        tiles[slot, tile] = ints[at + 1]
        states[slot, tile] = words[at + 2 : at + 2 + width]
        at += 2 + width
    last = -1
    for _ in range(count):
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


@compiled
def _big_endian(data: npt.NDArray[np.uint8], at: int, size: int) -> int:
    value = 0
    for index in range(at, at + size):
        value = value * 256 + int(data[index])
    return value


@compiled
def _is_whole(data: npt.NDArray[np.uint8], at: int, length: int) -> bool:
    """Return whether the header of a stored row matches the bytes after it."""
    # Rows of other lengths would break the alignment of those after them.
    if length < HEADER_BYTES or length & 7 or data[at + _FORMAT_AT] != ROW_FORMAT:
        return False
    # Refuse 64-bit numbers that do not fit a signed integer.
    if data[at] > 127 or data[at + 8] > 127 or data[at + 16] > 127:
        return False
    if _big_endian(data, at + HEADER_BYTES - 8, 4) != length - HEADER_BYTES:
        return False
    crc = crc32(data, at + HEADER_BYTES, at + length, crc32(data, at, at + HEADER_BYTES - 4, 0))
    return bool(_big_endian(data, at + HEADER_BYTES - 4, 4) == crc)


@compiled
def read_stored(
    plans: Ints, windows: Ints, empties: Floats, reads: Ints, most_tiles: int, most_states: int, most_totals: int,
    times: Ints, lengths: Ints, data: npt.NDArray[np.uint8], ints: Ints, words: Floats,
    values: Floats, cuts: Ints, newest: Ints,
) -> int:  # fmt: skip
    """Read stored rows; return how many reads were behind, or -1 if the bytes are not rows."""
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
            spec = reads[read]
            plan, ring, empty = plans[spec[0] : spec[1]], windows[spec[2] : spec[3]], empties[spec[4] : spec[5]]
            slots, resolution, keep = spec[7], spec[8], spec[9]
            width, count = empty.shape[0], ring.shape[0]
            tiles = all_tiles[:slots].reshape(1, slots)
            states = all_states[: slots * width].reshape(1, slots, width)
            scratch = scratch_states[:width]
            total = total_states[: count * width].reshape(count, width)
            partial = part_states[: count * width].reshape(count, width)
            for partition in range(spec[10]):
                out = total if partition == 0 else partial
                length = lengths[row]
                if length < 0:
                    for window in range(count):
                        out[window] = empty
                else:
                    first = (at + HEADER_BYTES) // 8
                    last = (at + length) // 8
                    if not _is_whole(data, at, length) or not well_formed(ints[first:last], slots, width):
                        return -1
                    nodes = ints[first + 2]
                    for node in range(nodes):
                        following[node] = node + 1
                    free = -1
                    if nodes > 0:
                        free = 0
                        following[nodes - 1] = -1
                    tiles[:] = NEVER
                    heads[:] = -1
                    tick_states = all_tick_states[: nodes * width].reshape(nodes, width)
                    load(
                        0, ints[first:last], words[first:last], row_newest, heads, tiles, states,
                        ticks, following, tick_states, free,
                    )  # fmt: skip
                    if row_newest[0] > NEVER:
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
                    merge_all(plan, total.reshape(1, count, width), partial.reshape(1, count, width))
                at += max(length, 0)
                row += 1
                part += 1
            size = plan.shape[0] * count
            finish(plan, total.reshape(1, count, width), values[event : event + 1, spec[6] : spec[6] + size])
    return behind
