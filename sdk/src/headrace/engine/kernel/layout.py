"""Memory layout of a view's rows, and the conversion of their contents to values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headrace.definition import ViewDefinition
from headrace.engine.arrays import Floats
from headrace.engine.kernel import tiles


class Layout:
    """Memory layout of a view's partial aggregates and tiles."""

    def __init__(self, view: ViewDefinition) -> None:
        self.view = view
        columns = list(dict.fromkeys(aggregate.column for aggregate in view.aggregates if aggregate.column is not None))
        self.columns: tuple[str, ...] = tuple(columns)
        kinds = [tiles.AGGREGATES[aggregate.operation] for aggregate in view.aggregates]
        offsets = np.cumsum([0, *(len(kind.empty) for kind in kinds)])
        self.width = int(offsets[-1])
        #: int64[A, 3]: operation, offset in the partial aggregate, column (-1: every event counts).
        self.plan = np.array(
            [
                (kind.number, offset, -1 if aggregate.column is None else columns.index(aggregate.column))
                for kind, offset, aggregate in zip(kinds, offsets, view.aggregates, strict=False)
            ],
            np.int64,
        ).reshape(-1, 3)
        counts = [window.size // window.hop for window in view.windows]
        slots = [count + -(-view.keep // window.hop) + 1 for count, window in zip(counts, view.windows, strict=True)]
        starts = np.cumsum([0, *slots])
        self.slots = int(starts[-1])
        #: int64[W, 4]: hop, number of tiles in the window, first slot of its ring, number of slots of its ring.
        self.windows = np.array(
            [(w.hop, counts[i], starts[i], slots[i]) for i, w in enumerate(view.windows)], np.int64
        ).reshape(-1, 4)
        #: The partial aggregates of no events.
        self.empty = np.array([number for kind in kinds for number in kind.empty], np.float64)

    def value_index(self, aggregate: str, window: str) -> int:
        """Return the column of `finish` that holds an aggregate over a window."""
        aggregates = [aggregate.name for aggregate in self.view.aggregates]
        windows = [window.name for window in self.view.windows]
        return windows.index(window) * len(aggregates) + aggregates.index(aggregate)

    def merge(self, total: Floats, part: Floats) -> None:
        """Merge the parts of one more partition into those of the partitions before it, in place."""
        tiles.merge_all(self.plan, total, part)

    def finish(self, parts: Sequence[Floats]) -> Floats:
        """Merge the parts of all partitions, in their order, into values.

        Parameters
        ----------
        parts
            float64[N, W, width] for each partition, as `RowSet.run` reads them.

        Returns
        -------
        float64[N, W * A]
            NaN where no value is known.
        """
        total = parts[0].copy()
        for part in parts[1:]:
            self.merge(total, part)
        values = np.empty((len(total), len(self.windows) * len(self.plan)))
        tiles.finish(self.plan, total, values)
        return values
