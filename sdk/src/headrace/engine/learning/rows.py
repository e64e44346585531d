"""Vectors in the form that River takes: one dictionary per vector."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from headrace.definition import FieldType, ModelDefinition
from headrace.engine.export import present
from headrace.wire.tables import LogEntries

Row = dict[str, float | str]


class Rows:
    """Turns vectors into dictionaries in the order of the model's features, without missing values."""

    def __init__(self, model: ModelDefinition) -> None:
        self._names = tuple(feature.name for feature in model.features)
        self._texts = tuple(feature.type is FieldType.STRING for feature in model.features)

    def of(self, entries: LogEntries, first: int) -> Iterator[Row]:
        """Yield the vectors of the entries from row `first` on."""
        columns: list[list[float] | list[str | None]] = []
        numbers = iter(entries.numbers[first:].T)
        categories = iter(entries.categories)
        complete_rows: npt.NDArray[np.bool_] = np.all(~np.isnan(entries.numbers[first:]), axis=1)
        for text in self._texts:
            if text:
                column = next(categories)[first:]
                columns.append(column)
                complete_rows &= np.fromiter(map(bool, column), np.bool_, len(column))
            else:
                columns.append(next(numbers).tolist())
        names = self._names
        for values, complete in zip(zip(*columns, strict=True), complete_rows.tolist(), strict=True):
            if complete:
                yield dict(zip(names, values, strict=True))
            else:
                yield present(dict(zip(names, values, strict=True)))
