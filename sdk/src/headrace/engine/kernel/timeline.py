"""The folds of one step on one row set, and the reads between them, in time order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from headrace.engine.arrays import Ints
from headrace.engine.kernel.preparation import Folds
from headrace.engine.kernel.rows import Operations, Reads, RowSet


class Timeline:
    """Folds and reads of one row set, executed in one pass.

    Each has a moment; at the same moment folds come first, in the order in which they were added.
    """

    def __init__(self, rows: RowSet) -> None:
        self._rows = rows
        self._slots: list[Ints] = []
        self._times: list[Ints] = []
        self._moments: list[Ints] = []
        self._kinds: list[npt.NDArray[np.int8]] = []
        self._values = np.empty((0, len(rows.layout.columns)))
        self._positions = np.empty((0, 3), np.int64)

    def fold(self, folds: Folds, times: Ints, moments: Ints, positions: Ints) -> list[int]:
        """Fold events and return the slots of the rows that change. Call it once, before any read is added."""
        slots = [-1 if key is None else self._rows.add(key) for key in folds.keys]
        self._values, self._positions = folds.values, positions
        self._add(0, slots, times, moments)
        return sorted({slot for slot in slots if slot >= 0})

    def read(self, keys: Sequence[str | None], times: Ints, moments: Ints) -> None:
        """Read the rows of these entities, each as of its own time."""
        self._add(1, [-1 if key is None else self._rows.slot(key) for key in keys], times, moments)

    def run(self) -> list[Reads]:
        """Execute all folds and reads; return what each call of `read` found, in order."""
        if not self._kinds:
            return []
        kinds = np.concatenate(self._kinds)
        order = np.lexsort((kinds, np.concatenate(self._moments)))
        done = self._rows.run(
            Operations(
                kinds[order],
                np.concatenate(self._slots)[order],
                np.concatenate(self._times)[order],
                self._values,
                self._positions,
            )
        )
        place = np.empty(len(order), np.int64)
        place[order[kinds[order] == 1]] = np.arange(len(done.cuts))
        return self._split(done, place)

    def _add(self, kind: int, slots: list[int], times: Ints, moments: Ints) -> None:
        self._slots.append(np.array(slots, np.int64))
        self._times.append(times)
        self._moments.append(moments)
        self._kinds.append(np.full(len(slots), kind, np.int8))

    def _split(self, done: Reads, place: Ints) -> list[Reads]:
        results: list[Reads] = []
        end = 0
        for kinds in self._kinds:
            start, end = end, end + len(kinds)
            if len(kinds) and kinds[0] == 0:
                continue
            at = place[start:end]
            # The first result carries the count of inexact reads for all.
            results.append(Reads(done.parts[at], done.cuts[at], done.newest[at], 0 if results else done.behind))
        return results
