"""Differences between logged and recomputed values, feature by feature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.definition import Aggregate, FieldType, ModelDefinition, walk
from headrace.engine.arrays import Floats
from headrace.engine.kernel.assembly import RowRead
from headrace.wire.tables import Categories

#: ONNX scores may differ in their last bits depending on their batch; vectors may not differ at all.
SCORE_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Difference:
    """One value that differs from what was logged.

    Attributes
    ----------
    what
        A feature's name, ``"score"``, ``"label"``, or ``"vector"`` if the vector no longer exists.
    logged, recomputed
        The values; None where missing.
    why
        The cause, in words.
    """

    model: str
    id: str
    time: int
    what: str
    logged: float | str | None
    recomputed: float | str | None
    why: str

    @property
    def by(self) -> float | None:
        """Amount of the difference, if both values are numbers."""
        if not isinstance(self.logged, float) or not isinstance(self.recomputed, float):
            return None
        by = self.recomputed - self.logged
        return None if math.isnan(by) else by


class Columns:
    """The places of a model's features in vectors, and the rows that each feature is computed from."""

    def __init__(self, model: ModelDefinition, reads: Sequence[RowRead]) -> None:
        self.names = [feature.name for feature in model.features]
        self._texts = [feature.type is FieldType.STRING for feature in model.features]
        places = {(read.view, read.key): index for index, read in enumerate(reads)}
        #: For each feature, the reads that it needs, as indices into `reads`.
        self.reads = [
            sorted({places[node.view, node.key] for node in walk(feature.value) if isinstance(node, Aggregate)})
            for feature in model.features
        ]

    def differ(
        self, numbers: Floats, categories: Categories, other: Floats, others: Categories
    ) -> npt.NDArray[np.bool_]:
        """Return bool[N, F]: which features of which vectors differ in any bit (NaN equals NaN)."""
        mask = np.empty((len(numbers), len(self.names)), bool)
        number, category = 0, 0
        for place, text in enumerate(self._texts):
            if text:
                one, two = categories[category], others[category]
                mask[:, place] = [a != b for a, b in zip(one, two, strict=True)]
                category += 1
            else:
                mask[:, place] = _differ(numbers[:, number], other[:, number])
                number += 1
        return mask

    def value(self, numbers: Floats, categories: Categories, row: int, feature: int) -> float | str | None:
        """Return one feature of one vector; None if it is missing."""
        before = self._texts[:feature]
        if self._texts[feature]:
            return categories[before.count(True)][row]
        value = float(numbers[row, before.count(False)])
        return None if math.isnan(value) else value


def scores_differ(logged: Floats, recomputed: Floats) -> npt.NDArray[np.bool_]:
    """Return which scores differ by more than the order of computation explains."""
    scale = np.maximum(1.0, np.abs(logged))
    with np.errstate(invalid="ignore"):
        close = np.abs(logged - recomputed) <= SCORE_TOLERANCE * scale
    return ~(close | (np.isnan(logged) & np.isnan(recomputed)))


def _differ(one: Floats, two: Floats) -> npt.NDArray[np.bool_]:
    bits = np.ascontiguousarray(one).view(np.int64) != np.ascontiguousarray(two).view(np.int64)
    different: npt.NDArray[np.bool_] = bits & ~(np.isnan(one) & np.isnan(two))
    return different
