"""Faults of the fold: in the vectors, and in the cuts that describe them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from headrace.engine.arrays import Ints
from headrace.engine.kernel.fold import Fold, MadeVectors
from headrace.engine.kernel.partition import Partition
from headrace.engine.kernel.timeline import Timeline
from headrace_feature.pulsar.outputs import VectorOutputs


def another_cut() -> None:
    """Record in a vector's cut one message less than it holds."""
    make = Fold._make

    def shortened(self: Fold, *arguments: object, **options: Any) -> MadeVectors:
        vectors = make(self, *arguments, **options)  # type: ignore[arg-type]
        cuts = vectors.assembled.cuts.copy()
        cuts[..., 1] -= cuts[..., 1] > 0
        return vectors._replace(assembled=vectors.assembled._replace(cuts=cuts))

    Fold._make = shortened  # type: ignore[method-assign]


def sees_itself() -> None:
    """Read rows one second too late."""
    read = Timeline.read

    def later(self: Timeline, keys: Sequence[str | None], times: Ints, moments: Ints) -> None:
        read(self, keys, times + 1_000_000, moments)

    Timeline.read = later  # type: ignore[method-assign]


def order_of_arrival() -> None:
    """Fold and read in the order of arrival, whatever the times are."""
    read = Timeline.read

    def at_once(self: Timeline, keys: Sequence[str | None], times: Ints, moments: Ints) -> None:
        read(self, keys, times, np.zeros_like(moments))

    Timeline.read = at_once  # type: ignore[method-assign]


def waits_for_nobody() -> None:
    """Assemble a vector as soon as its event arrives."""
    Partition.release_watermark = property(lambda self: 2**62)  # type: ignore[assignment]


def idle_for_good() -> None:
    """Never wait again for a partition that has been idle once."""
    Partition.accept = _still_idle(Partition.accept)  # type: ignore[method-assign]
    Partition.mark = _still_idle(Partition.mark)  # type: ignore[method-assign]


def _still_idle(read: Callable[..., Any]) -> Callable[..., Any]:
    def still_idle(self: Partition, *arguments: object, **options: Any) -> Any:
        idle = self.idle
        result = read(self, *arguments, **options)
        self.idle = idle
        return result

    return still_idle


def some_vectors_unsent() -> None:
    """Send no vector of an event whose id ends in 77."""
    send = VectorOutputs.send

    def partly(self: VectorOutputs, vectors: MadeVectors, *arguments: int, **options: Any) -> None:
        rows = [row for row, id in enumerate(vectors.ids) if not id.endswith("77")]
        assembled = vectors.assembled
        part = assembled._replace(
            numbers=assembled.numbers[rows],
            categories=[[column[row] for row in rows] for column in assembled.categories],
            cuts=assembled.cuts[rows],
        )
        ids = [vectors.ids[row] for row in rows]
        send(
            self,
            vectors._replace(ids=ids, times=vectors.times[rows], positions=vectors.positions[rows], assembled=part),
            *arguments,
            **options,
        )

    VectorOutputs.send = partly  # type: ignore[method-assign,assignment]


FAULTS = {
    mutant.__name__: mutant
    for mutant in (another_cut, sees_itself, order_of_arrival, waits_for_nobody, idle_for_good, some_vectors_unsent)
}
