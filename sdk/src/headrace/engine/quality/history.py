"""Quality over the life of a model, in a bounded number of points."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from headrace.engine.arrays import Floats, Ints

#: Number of examples that a point covers.
WINDOW = 5_000
#: Number of examples from one point to the next, a divisor of `WINDOW`.
STEP = 1_000
#: Maximum number of points, even: at the limit every other point is removed, and new ones come half as often.
LIMIT = 512


class Point(msgspec.Struct, frozen=True):
    """The metrics of the last `window` scored examples, when `examples` had been scored."""

    time: int
    examples: int
    window: int
    metrics: dict[str, float]


class HistoryState(msgspec.Struct):
    """Contents of a history, as plain data."""

    points: list[Point]
    scored: int
    stride: int
    newest: int
    ring: bytes


class History:
    """Keeps the measurements of the last `WINDOW` examples, and makes a point every `STEP` examples.

    Parameters
    ----------
    width
        Number of measurements of one example.
    measure
        Computes metrics from measurements[N, width], in no particular order.
    """

    def __init__(self, width: int, measure: Callable[[Floats], dict[str, float]]) -> None:
        self.points: list[Point] = []
        self._measure = measure
        self._ring = np.zeros((WINDOW, width))
        self._scored = 0
        self._stride = 1
        self._newest = -(2**63)

    def add(self, times: Ints, measured: Floats) -> None:
        """Take the measurements of a batch of examples, with their event times."""
        for chunk in self._chunks(len(times)):
            at = self._scored % WINDOW
            size = chunk.stop - chunk.start
            self._ring[at : at + size] = measured[chunk]
            self._scored += size
            self._newest = max(self._newest, int(times[chunk].max()))
            if self._scored % STEP == 0:
                self._record()

    def _chunks(self, size: int) -> Iterator[slice]:
        """Cut a batch where points are due, so that points do not depend on the batches."""
        start = 0
        while start < size:
            stop = min(size, start + STEP - (self._scored % STEP))
            yield slice(start, stop)
            start = stop

    def _record(self) -> None:
        if (self._scored // STEP) % self._stride:
            return
        window = min(self._scored, WINDOW)
        self.points.append(Point(self._newest, self._scored, window, self._measure(self._ring[:window])))
        if len(self.points) == LIMIT:
            self.points = self.points[1::2]
            self._stride *= 2

    def dump(self) -> HistoryState:
        """Return everything, as plain data."""
        return HistoryState(list(self.points), self._scored, self._stride, self._newest, self._ring.tobytes())

    def load(self, state: HistoryState) -> None:
        """Restore what `dump` returned."""
        self.points = list(state.points)
        self._scored, self._stride, self._newest = state.scored, state.stride, state.newest
        self._ring = np.frombuffer(state.ring, np.float64).reshape(self._ring.shape).copy()
