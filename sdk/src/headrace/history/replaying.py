"""Replay of what a model served: its vectors and predictions, recomputed from the streams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.events import EventColumns
from headrace.events.columns import ColumnArray
from headrace.history.alterations import NONE, Alterations
from headrace.history.logged import LoggedModel, LoggedPredictions, LoggedVectors, Selection
from headrace.history.streams import StreamHistory
from headrace.history.versions import PastVersions, Rescored
from headrace.kernel.arrays import Ints
from headrace.kernel.assemble import Assembled, Assembler
from headrace.kernel.partition import PartitionId
from headrace.kernel.replay import PASS_BYTES, VectorReplay, bytes_a_vector, orders_of
from headrace.log.tables import Predictions


@dataclass
class Recomputed:
    """N vectors as recomputed now.

    Attributes
    ----------
    known
        bool[N]: whether the vector's event is in its stream. If it is not, the vector is missing.
    """

    known: npt.NDArray[np.bool_]
    made: Assembled


@dataclass
class Replayed:
    """The vectors of one pass, as logged and as recomputed, with their predictions."""

    logged: LoggedVectors
    again: Recomputed
    predictions: LoggedPredictions
    scores: Rescored


class Replay:
    """Recomputes what one model served.

    Parameters
    ----------
    complete
        Use everything that is in the streams now, instead of the recorded cuts.
    alterations
        Alter these events; this implies `complete`.
    """

    def __init__(
        self,
        loop: LoopDefinition,
        model: ModelDefinition,
        streams: StreamHistory,
        log: LoggedModel,
        versions: PastVersions,
        complete: bool = False,
        alterations: Alterations = NONE,
        pass_bytes: int = PASS_BYTES,
    ) -> None:
        self.loop = loop
        self.model = model
        self.streams = streams
        self.complete = complete or bool(alterations)
        self.alterations = alterations
        self.assembler = Assembler(loop, model)
        self.log = log
        self._versions = versions
        self._pass = max(pass_bytes // bytes_a_vector(self.assembler, model), 1)

    def vectors(self, selection: Selection) -> Iterator[Replayed]:
        """Yield the selected vectors with their predictions, in passes."""
        for logged in self.log.vectors(selection, self._pass):
            again = self.recompute(logged, self.complete, self.alterations)
            predictions = self.log.predictions(logged)
            versions = np.where(again.known, predictions.versions, -1)
            scores = self._versions.score(versions, again.made.numbers, again.made.categories)
            yield Replayed(logged, again, predictions, scores)

    def requests(self, selection: Selection) -> Iterator[tuple[Predictions, Rescored]]:
        """Yield the predictions of requests, rescored from the vectors that they used."""
        for found in self.log.requests(selection, self._pass):
            yield found, self._versions.score(found.versions, found.numbers, found.categories)

    def recompute(self, logged: LoggedVectors, complete: bool, alterations: Alterations) -> Recomputed:
        """Recompute vectors, at their cuts or completely, from the streams as they are or altered."""
        rows, events, keys = self._events(logged, alterations)
        replay = VectorReplay(self.loop, self.model, events, keys, None if complete else logged.vectors.cuts[rows])
        for stream in replay.streams if len(rows) else ():
            for source in self.streams.partitions(stream):
                folded = replay.partition(source)
                for accepted in self.streams.read(source, alterations):
                    folded.fold(accepted)
                    if folded.done:
                        break
                folded.finish()
        known = np.zeros(len(logged), bool)
        known[rows] = True
        made = replay.assemble()
        return Recomputed(known, made if known.all() else _spread(made, rows, len(logged)))

    def _events(self, logged: LoggedVectors, alterations: Alterations) -> tuple[Ints, EventColumns, Ints]:
        """Return the events of vectors: the rows of their vectors, their columns and their keys."""
        found: list[tuple[Ints, EventColumns, Ints]] = []
        for own in np.unique(logged.partitions).tolist():
            found += self._events_of(logged, own, alterations)
        if not found:
            nothing = np.empty(0, np.int64)
            return nothing, EventColumns(nothing, [], {name: np.empty(0) for name in self.assembler.fields}), nothing
        rows = np.concatenate([own for own, _, _ in found])
        order = np.argsort(rows)
        events = EventColumns.concat([own for _, own, _ in found]).take(order)
        return rows[order], events, np.concatenate([own for _, _, own in found])[order]

    def _events_of(
        self, logged: LoggedVectors, partition: int, alterations: Alterations
    ) -> Iterator[tuple[Ints, EventColumns, Ints]]:
        places = np.flatnonzero(logged.partitions == partition)
        orders = orders_of(logged.positions[places])
        sorting = np.argsort(orders)
        places, orders = places[sorting], orders[sorting]
        texts: dict[object, object] = {}
        for accepted in self.streams.read(PartitionId(self.model.stream, partition), alterations):
            own = orders_of(accepted.positions)
            at = np.minimum(np.searchsorted(orders, own), len(orders) - 1)
            hits = np.flatnonzero(orders[at] == own)
            if len(hits):
                yield places[at[hits]], self._needed(accepted.columns, hits, texts), accepted.keys[hits]
            if own[-1] >= orders[-1]:
                return

    def _needed(self, columns: EventColumns, rows: Ints, texts: dict[object, object]) -> EventColumns:
        """Select what vectors need of events; equal texts share one object, so that many take little memory."""
        fields: dict[str, ColumnArray] = {}
        for name in self.assembler.fields:
            column = columns.fields[name][rows]
            if column.dtype == object:
                column = np.array([texts.setdefault(value, value) for value in column.tolist()], object)
            fields[name] = column
        return EventColumns(columns.times[rows], [""] * len(rows), fields)


def _spread(made: Assembled, rows: Ints, size: int) -> Assembled:
    """Place the vectors at their rows among `size`; the others are missing in every value."""
    numbers = np.full((size, made.numbers.shape[1]), np.nan)
    numbers[rows] = made.numbers
    categories: list[list[str | None]] = []
    for column in made.categories:
        spread: list[str | None] = [None] * size
        for row, value in zip(rows.tolist(), column, strict=True):
            spread[row] = value
        categories.append(spread)
    cuts = np.full((size, *made.cuts.shape[1:]), -1, np.int64)
    cuts[rows] = made.cuts
    newest = np.zeros((size, made.newest.shape[1]), np.int64)
    newest[rows] = made.newest
    return Assembled(numbers, categories, cuts, newest, made.behind)
