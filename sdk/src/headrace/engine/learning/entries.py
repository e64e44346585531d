"""The entries of a message: in lists that Python reads quickly, and in arrays for compiled code."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np

from headrace.definition import Task
from headrace.engine.arrays import Bools
from headrace.engine.learning.columns import Columns
from headrace.engine.learning.rows import Rows
from headrace.engine.learning.steps import labels_of
from headrace.engine.quality.arithmetic import are_true
from headrace.wire.tables import LogEntries

#: The kind of entries that are left out.
SKIPPED = -1


class EntryLists:
    """The entries of a message from row `first` on, in lists."""

    def __init__(self, task: Task, entries: LogEntries, rows: Rows, first: int, *, former: bool) -> None:
        self.size = len(entries) - first
        self.seqs: list[int] = entries.seqs[first:].tolist()
        self.questions: list[int] = entries.questions[first:].tolist()
        self.times: list[int] = entries.times[first:].tolist()
        self.ids = entries.ids[first:]
        self.weights: list[float] = entries.weights[first:].tolist()
        self.asked: list[bool] = _asked(entries, first, former=former).tolist()
        self.labels = labels_of(task, entries.labels[first:])
        self.rows = rows.of(entries, first)
        self._kinds = entries.kinds[first:]

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """Return the entries in runs of one kind: the kind, the first row, and the row after the last."""
        starts = np.flatnonzero(np.diff(self._kinds, prepend=-1))
        ends = [*starts.tolist()[1:], self.size]
        return zip(self._kinds[starts].tolist(), starts.tolist(), ends, strict=True)


class EntryArrays:
    """The entries of a message from row `first` on, in arrays; the task is binary or a regression.

    Attributes
    ----------
    kinds
        `SKIPPED` where an entry belongs to one of the questions that are skipped.
    labels
        0 or 1 if the task is binary.
    """

    def __init__(self, task: Task, entries: LogEntries, first: int, skipped: Collection[int], *, former: bool) -> None:
        self.size = len(entries) - first
        self.seqs = entries.seqs[first:]
        self.questions = entries.questions[first:]
        self.times = entries.times[first:]
        self.ids = entries.ids[first:]
        self.weights = entries.weights[first:]
        self.asked = _asked(entries, first, former=former)
        labels = np.asarray(entries.labels[first:], np.float64)
        self.labels = are_true(labels).astype(np.float64) if task is Task.BINARY else labels
        self.kinds = entries.kinds[first:].copy()
        if skipped:
            # An answer whose question is not in the log is identified by its own place.
            places = list(skipped)
            self.kinds[np.isin(self.seqs, places) | np.isin(self.questions, places)] = SKIPPED
        self._numbers = entries.numbers[first:]
        self._categories = [column[first:] for column in entries.categories]

    @property
    def columns(self) -> Columns:
        """The entries as a compiled learner reads them."""
        return Columns(self.kinds, self._numbers, self._categories, self.labels, self.weights)

    def runs(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the entries of a range in runs of one kind: the first row, and the row after the last."""
        ends = start + 1 + np.flatnonzero(np.diff(self.kinds[start:end]))
        yield from zip([start, *ends.tolist()], [*ends.tolist(), end], strict=True)


def _asked(entries: LogEntries, first: int, *, former: bool) -> Bools:
    """Return which questions were asked: not those that were made later, nor those in a former definition's log."""
    if former or entries.made is None:
        return np.full(len(entries) - first, not former)
    return ~entries.made[first:]
