"""Assembly of vectors: the values that a model sees of an event, as of a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.definition import (
    Aggregate,
    Apply,
    Column,
    Expression,
    FieldType,
    Literal,
    LoopDefinition,
    ModelDefinition,
    walk,
)
from headrace.engine.arrays import Floats, Ints
from headrace.engine.events.columns import EventColumns
from headrace.engine.kernel.expressions import Program, columns_of
from headrace.engine.kernel.layout import Layout
from headrace.engine.kernel.preparation import entity_keys
from headrace.engine.kernel.rows import Operations, Reads, RowSet
from headrace.engine.kernel.stored_rows import StoredReader


class RowRead(NamedTuple):
    """A row that a vector needs: one of a view, for the entity that these fields of the event name."""

    view: str
    entity: str
    key: tuple[str, ...]


class Assembled(NamedTuple):
    """N vectors.

    Attributes
    ----------
    numbers
        float64[N, n]: the numeric features, NaN where missing.
    categories
        The column of each string feature, None where missing.
    cuts
        int64[N, C, 3]: the position of each row read, by read and partition; -1 if there was none.
    newest
        int64[N, R]: event time (µs) of the newest event in each row read, -2**62 if there is none.
    behind
        Number of reads too old to be exact.
    """

    numbers: Floats
    categories: list[list[str | None]]
    cuts: Ints
    newest: Ints
    behind: int


class Assembler:
    """Assembles the vectors of one model.

    Attributes
    ----------
    reads
        The distinct rows that a vector reads; `Assembled.cuts` has an entry for each of them and for each
        partition of its view's stream, in this order.
    fields
        The fields of the model's stream that keys and features need.
    """

    def __init__(self, loop: LoopDefinition, model: ModelDefinition) -> None:
        self.model = model
        numeric = [feature.value for feature in model.features if feature.type is not FieldType.STRING]
        self._texts = [feature.value for feature in model.features if feature.type is FieldType.STRING]
        aggregates = [node for value in numeric for node in walk(value) if isinstance(node, Aggregate)]
        self._aggregates = tuple(dict.fromkeys(aggregates))
        self.reads = tuple(
            dict.fromkeys(
                RowRead(aggregate.view, loop.view(aggregate.view).entity, aggregate.key)
                for aggregate in self._aggregates
            )
        )
        self._columns = columns_of(numeric)
        self._program = Program(numeric, [*(Column(name) for name in self._columns), *self._aggregates])
        self.layouts = {read.view: Layout(loop.view(read.view)) for read in self.reads}
        self.partitions = [loop.stream(loop.view(read.view).stream).partitions for read in self.reads]
        self._stored_reader = StoredReader([self.layouts[read.view] for read in self.reads], self.partitions)
        self._places = self._value_places()
        self.fields = frozenset(
            [*self._columns, *columns_of(self._texts), *(name for read in self.reads for name in read.key)]
        )

    def keys(self, events: EventColumns, read: RowRead) -> list[str | None]:
        """Return the entity key of each event, None if one of its fields is missing."""
        return entity_keys([events.fields[name] for name in read.key], len(events))

    def inputs(self, events: EventColumns) -> tuple[Floats, list[list[str | None]]]:
        """Return what features take from the events themselves: float64[N, columns] of numbers, and the categories."""
        numbers = self._program.matrix(events.fields, self._columns, len(events))
        return numbers, [_category(value, events) for value in self._texts]

    def assemble(self, events: EventColumns, parts: Sequence[Sequence[Reads]]) -> Assembled:
        """Assemble the vectors of events from the reads made for them.

        Parameters
        ----------
        parts
            For each of `reads`, by partition: the results of its row set for the N events.
        """
        size = len(events)
        values = [
            self.layouts[read.view].finish([part.parts for part in group])
            for read, group in zip(self.reads, parts, strict=True)
        ]
        cuts = [part.cuts for group in parts for part in group]
        newest = [np.maximum.reduce([part.newest for part in group]) for group in parts]
        return self._vectors(
            events,
            np.concatenate(values, axis=1) if values else np.empty((size, 0)),
            np.stack(cuts, axis=1) if cuts else np.empty((size, 0, 3), np.int64),
            np.stack(newest, axis=1) if newest else np.empty((size, 0), np.int64),
            behind=sum(part.behind for group in parts for part in group),
        )

    def assemble_stored(
        self, events: EventColumns, times: npt.NDArray[np.int64], rows: Sequence[Sequence[Sequence[bytes | None]]]
    ) -> Assembled:
        """Assemble the vectors of events from stored rows.

        Parameters
        ----------
        times
            int64[N]: the as-of time of each event.
        rows
            ``rows[event][read][partition]``: the row's bytes, None if there is none.
        """
        values, cuts, newest, behind = self._stored_reader.run(times, rows)
        return self._vectors(events, values, cuts, newest, behind=behind)

    def _vectors(self, events: EventColumns, values: Floats, cuts: Ints, newest: Ints, *, behind: int) -> Assembled:
        """Evaluate the features over the events' fields and the values of their reads, concatenated in order."""
        numbers, categories = self.inputs(events)
        inputs = np.concatenate([numbers, values[:, self._places]], axis=1)
        return Assembled(self._program.run(inputs), categories, cuts, newest, behind)

    def _value_places(self) -> npt.NDArray[np.int64]:
        """Return the column of each aggregate among the values of all reads."""
        reads = {(read.view, read.key): index for index, read in enumerate(self.reads)}
        places = [
            self._stored_reader.starts[reads[aggregate.view, aggregate.key]]
            + self.layouts[aggregate.view].value_index(aggregate.aggregate, aggregate.window)
            for aggregate in self._aggregates
        ]
        return np.array(places, np.int64)


def read_stored(layout: Layout, times: Ints, states: Sequence[bytes | None]) -> Reads:
    """Read stored rows of one view and partition, one for each time."""
    rows = RowSet(layout, capacity=max(len(states), 1))
    slots = [-1 if state is None else rows.add(str(index), state) for index, state in enumerate(states)]
    size = len(slots)
    return rows.run(
        Operations(
            np.ones(size, np.int8),
            np.array(slots, np.int64),
            np.asarray(times, np.int64),
            np.empty((0, len(layout.columns))),
            np.empty((0, 3), np.int64),
        )
    )


def _category(value: Expression, events: EventColumns) -> list[str | None]:
    """Return a string feature: a field, or a field with a fill value."""
    if isinstance(value, Apply) and value.operation == "fill":
        filling = value.arguments[1]
        assert isinstance(filling, Literal)
        return [str(filling.value) if text is None else text for text in _category(value.arguments[0], events)]
    assert isinstance(value, Column)
    fields: Mapping[str, npt.NDArray[np.object_]] = events.fields  # type: ignore[assignment]
    column = fields.get(value.name)
    return [None] * len(events) if column is None else column.tolist()
