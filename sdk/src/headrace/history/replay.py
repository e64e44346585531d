"""Replay of what a model served: its vectors and predictions, recomputed from the streams."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.engine.arrays import Ints
from headrace.engine.events import EventColumns
from headrace.engine.events.columns import ColumnArray
from headrace.engine.kernel.assembly import Assembled, Assembler
from headrace.engine.kernel.partition import PartitionId
from headrace.engine.kernel.vector_replay import PASS_BYTES, VectorReplay, bytes_a_vector, orders_of
from headrace.history.alterations import NONE, Alterations
from headrace.history.served_record import LoggedModel, LoggedPredictions, LoggedVectors, Selection
from headrace.history.streams import StreamHistory
from headrace.history.versions import PastVersions, Rescored
from headrace.wire.tables import Predictions


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
        *,
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
            recomputed = self.recompute(logged, self.complete, self.alterations)
            predictions = self.log.predictions(logged)
            versions = np.where(recomputed.known, predictions.versions, -1)
            scores = self._versions.score(versions, recomputed.made.numbers, recomputed.made.categories)
            yield Replayed(logged, recomputed, predictions, scores)

    def requests(self, selection: Selection) -> Iterator[tuple[Predictions, Rescored]]:
        """Yield the predictions of requests, rescored from the vectors that they used."""
        for predictions in self.log.requests(selection, self._pass):
            yield predictions, self._versions.score(predictions.versions, predictions.numbers, predictions.categories)

    def recompute(self, logged: LoggedVectors, complete: bool, alterations: Alterations) -> Recomputed:
        """Recompute vectors, at their cuts or completely, from the streams as they are or altered."""
        rows, events, keys = self._events(logged, alterations)
        replay = VectorReplay(self.loop, self.model, events, keys, cuts=None if complete else logged.vectors.cuts[rows])
        for stream in replay.streams if len(rows) else ():
            for source in self.streams.partitions(stream):
                fold = replay.partition(source)
                for waiting in self.streams.read(source, alterations):
                    fold.fold(waiting)
                    if fold.done:
                        break
                fold.finish()
        known = np.zeros(len(logged), bool)
        known[rows] = True
        vectors = replay.assemble()
        return Recomputed(known, vectors if known.all() else _spread(vectors, rows, len(logged)))

    def _events(self, logged: LoggedVectors, alterations: Alterations) -> tuple[Ints, EventColumns, Ints]:
        """Return the events of vectors: the rows of their vectors, their columns and their keys."""
        parts: list[tuple[Ints, EventColumns, Ints]] = []
        for partition in np.unique(logged.partitions).tolist():
            parts += self._events_of(logged, partition, alterations)
        if not parts:
            empty = np.empty(0, np.int64)
            return empty, EventColumns(empty, [], {name: np.empty(0) for name in self.assembler.fields}), empty
        rows = np.concatenate([rows for rows, _, _ in parts])
        order = np.argsort(rows)
        events = EventColumns.concat([events for _, events, _ in parts]).take(order)
        return rows[order], events, np.concatenate([keys for _, _, keys in parts])[order]

    def _events_of(
        self, logged: LoggedVectors, partition: int, alterations: Alterations
    ) -> Iterator[tuple[Ints, EventColumns, Ints]]:
        places = np.flatnonzero(logged.partitions == partition)
        orders = orders_of(logged.positions[places])
        sorting = np.argsort(orders)
        places, orders = places[sorting], orders[sorting]
        texts: dict[object, object] = {}
        for waiting in self.streams.read(PartitionId(self.model.stream, partition), alterations):
            event_orders = orders_of(waiting.positions)
            at = np.minimum(np.searchsorted(orders, event_orders), len(orders) - 1)
            hits = np.flatnonzero(orders[at] == event_orders)
            if len(hits):
                yield places[at[hits]], self._select(waiting.columns, hits, texts), waiting.keys[hits]
            if event_orders[-1] >= orders[-1]:
                return

    def _select(self, columns: EventColumns, rows: Ints, texts: dict[object, object]) -> EventColumns:
        """Select what vectors need of events; equal texts share one object, so that many take little memory."""
        fields: dict[str, ColumnArray] = {}
        for name in self.assembler.fields:
            column = columns.fields[name][rows]
            if column.dtype == object:
                column = np.array([texts.setdefault(value, value) for value in column.tolist()], object)
            fields[name] = column
        return EventColumns(columns.times[rows], [""] * len(rows), fields)


def _spread(vectors: Assembled, rows: Ints, size: int) -> Assembled:
    """Place the vectors at their rows among `size`; the others are missing in every value."""
    numbers = np.full((size, vectors.numbers.shape[1]), np.nan)
    numbers[rows] = vectors.numbers
    categories: list[list[str | None]] = []
    for column in vectors.categories:
        spread: list[str | None] = [None] * size
        for row, value in zip(rows.tolist(), column, strict=True):
            spread[row] = value
        categories.append(spread)
    cuts = np.full((size, *vectors.cuts.shape[1:]), -1, np.int64)
    cuts[rows] = vectors.cuts
    newest = np.zeros((size, vectors.newest.shape[1]), np.int64)
    newest[rows] = vectors.newest
    return Assembled(numbers, categories, cuts, newest, vectors.behind)
