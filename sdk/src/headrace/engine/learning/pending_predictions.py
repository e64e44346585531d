"""Predictions of a model, kept until the answers come."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from headrace.engine.arrays import Bools, Floats, Ints

#: Closed predictions are removed once there are this many, and they are more than half.
_CLOSED = 4_096


class WaitingState(msgspec.Struct):
    """State of the waiting predictions in a checkpoint."""

    width: int
    seqs: bytes
    examples: bytes
    values: bytes
    closed: bytes
    dropped: int
    forgotten: int


# Made on import: msgspec inspects a type with its first decoder, and two threads that do so at once crash the process.
_STATE = msgspec.msgpack.Decoder(WaitingState)


class Kept(NamedTuple):
    """What is kept for a question: how many examples were learned when it was asked, and the values."""

    examples: int
    values: Sequence[float]


class WaitingPredictions:
    """Rows of numbers by the place of their question, in bounded memory.

    Parameters
    ----------
    width
        Number of values in a row.
    max_bytes
        Bound beyond which the oldest rows are dropped.

    Attributes
    ----------
    dropped
        Number of rows that were dropped.
    """

    def __init__(self, width: int, max_bytes: int) -> None:
        self.width = width
        self.dropped = 0
        self._max_bytes = max_bytes
        self._seqs = array("q")
        self._examples = array("q")
        self._values = array("d")
        self._closed = bytearray()
        self._closed_count = 0
        self._forgotten = -1

    def __len__(self) -> int:
        return len(self._seqs) - self._closed_count

    @property
    def size(self) -> int:
        """The bytes that the rows take."""
        return self._size_of(len(self._seqs))

    def has_room(self, count: int) -> bool:
        """Return whether a number of rows can be added without dropping any."""
        if self._size_of(len(self._seqs) + count) > self._max_bytes:
            self._compact()
        return self._size_of(len(self._seqs) + count) <= self._max_bytes

    def add(self, seqs: Sequence[int], examples: Sequence[int], values: Sequence[float]) -> None:
        """Keep the rows of questions at these places, which follow all kept ones.

        Parameters
        ----------
        examples
            For each question, how many examples were learned when it was asked.
        values
            The values of all rows, end to end.
        """
        self._seqs.extend(seqs)
        self._examples.extend(examples)
        self._values.extend(values)
        self._closed.extend(bytes(len(seqs)))
        if self.size > self._max_bytes:
            self._compact()
            self._drop(len(seqs))

    def take(self, seq: int) -> Kept | None:
        """Remove and return the row of a question; None if there is none."""
        row = bisect_left(self._seqs, seq)
        if row == len(self._seqs) or self._seqs[row] != seq or self._closed[row]:
            return None
        self._closed[row] = 1
        self._closed_count += 1
        taken = Kept(self._examples[row], self._values[row * self.width : (row + 1) * self.width])
        self._compact_if_due()
        return taken

    def take_all(self, seqs: Ints) -> tuple[Ints, Floats, Bools]:
        """Remove the rows of questions.

        Returns
        -------
        The examples of these rows, in order; their values; and which of the questions had a row.
        """
        rows, found = self._find(seqs)
        examples: Ints = np.asarray(self._examples)[rows]
        values: Floats = np.asarray(self._values).reshape(len(self._seqs), self.width)[rows]
        np.frombuffer(self._closed, np.uint8)[rows] = 1
        self._closed_count += len(rows)
        self._compact_if_due()
        return examples, values, found

    def was_dropped(self, seq: int) -> bool:
        """Return whether a row at this place may have been dropped."""
        return seq <= self._forgotten

    def widen(self, width: int) -> None:
        """Widen the rows; those that are kept get NaN in the new columns."""
        values = self._table()
        wider = np.full((len(values), width), math.nan)
        wider[:, : self.width] = values
        self.width, self._values = width, array("d", wider.tobytes())

    def dump(self) -> bytes:
        """Serialize everything for a checkpoint."""
        self._compact()
        closed = bytes(self._closed)
        columns = (self._seqs.tobytes(), self._examples.tobytes(), self._values.tobytes(), closed)
        state = WaitingState(self.width, *columns, self.dropped, self._forgotten)
        return msgspec.msgpack.encode(state)

    @classmethod
    def load(cls, data: bytes, max_bytes: int) -> WaitingPredictions:
        """Restore what `dump` returned."""
        state = _STATE.decode(data)
        waiting = cls(state.width, max_bytes)
        waiting.dropped, waiting._forgotten = state.dropped, state.forgotten
        waiting._seqs.frombytes(state.seqs)
        waiting._examples.frombytes(state.examples)
        waiting._values.frombytes(state.values)
        waiting._closed = bytearray(state.closed)
        return waiting

    def _size_of(self, rows: int) -> int:
        return rows * (8 * self.width + 17)

    def _find(self, seqs: Ints) -> tuple[Ints, Bools]:
        """Return the rows of questions, and which of the questions have one that is open."""
        known, closed = np.asarray(self._seqs), np.frombuffer(self._closed, np.uint8)
        rows = np.searchsorted(known, seqs)
        found = rows < len(known)
        found[found] = (known[rows[found]] == seqs[found]) & (closed[rows[found]] == 0)
        # Of two answers to a question the first takes its row.
        places = np.flatnonzero(found)
        _, firsts = np.unique(rows[places], return_index=True)
        found[:] = False
        found[places[firsts]] = True
        return rows[found], found

    def _compact_if_due(self) -> None:
        if self._closed_count >= _CLOSED and 2 * self._closed_count > len(self._seqs):
            self._compact()

    def _table(self) -> Floats:
        return np.array(self._values, np.float64).reshape(len(self._seqs), self.width)

    def _compact(self) -> None:
        """Remove the closed rows."""
        if self._closed_count:
            self._keep(np.frombuffer(bytes(self._closed), np.uint8) == 0)

    def _drop(self, added: int) -> None:
        """Drop the oldest rows: each time that a row exceeds the bound, a quarter of the bound is freed."""
        limit = self._max_bytes // self._size_of(1)
        # Count as if the rows had come one by one: what is dropped must not depend on the batches.
        rows, excess = len(self._seqs) - added, 0
        for _ in range(added):
            rows += 1
            if rows > limit:
                excess += rows - 3 * limit // 4
                rows = 3 * limit // 4
        if excess:
            self.dropped += excess
            self._forgotten = self._seqs[excess - 1]
            self._keep(np.arange(len(self._seqs)) >= excess)

    def _keep(self, rows: Bools) -> None:
        values = self._table()[rows]
        self._seqs = array("q", np.array(self._seqs, np.int64)[rows].tobytes())
        self._examples = array("q", np.array(self._examples, np.int64)[rows].tobytes())
        self._values = array("d", values.tobytes())
        self._closed = bytearray(len(self._seqs))
        self._closed_count = 0
