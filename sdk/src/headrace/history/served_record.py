"""Record of what a model served, read from its topics: its vectors, each with its prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import structlog

from headrace.definition import ModelDefinition
from headrace.engine.arrays import Floats, Ints
from headrace.engine.kernel.vector_replay import orders_of
from headrace.errors import Unreadable
from headrace.history.logs import FEW, Logs
from headrace.runtime.pulsar.messages import opened
from headrace.wire.deduplication import Accepted
from headrace.wire.envelope import Envelope
from headrace.wire.tables import Predictions, Vectors, decode_predictions, decode_vectors, made_for
from headrace.wire.topics import Topics

_log = structlog.get_logger()

_POSITION = np.dtype([("ledger", ">u8"), ("entry", ">u8"), ("batch", ">u4")])


@dataclass
class Selection:
    """Selection of vectors: those with these ids (None: any), from `start` on, before `end` (µs), at most `limit`."""

    ids: frozenset[str] | None = None
    start: int | None = None
    end: int | None = None
    limit: int | None = None

    def rows(self, ids: list[str], times: Ints) -> list[int]:
        """Return the places of the selected ones, regardless of the limit."""
        mask = np.ones(len(ids), bool)
        if self.start is not None:
            mask &= times >= self.start
        if self.end is not None:
            mask &= times < self.end
        rows = np.flatnonzero(mask).tolist()
        return rows if self.ids is None else [row for row in rows if ids[row] in self.ids]


@dataclass
class LoggedVectors:
    """N vectors of one model, and the partition of its stream that holds each event.

    Attributes
    ----------
    positions
        int64[N, 3]: the position of each event there.
    """

    vectors: Vectors
    partitions: Ints
    positions: Ints

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: Ints) -> LoggedVectors:
        """Return the vectors at these rows."""
        return LoggedVectors(self.vectors.take(rows.tolist()), self.partitions[rows], self.positions[rows])


@dataclass
class LoggedPredictions:
    """The predictions of N vectors.

    Attributes
    ----------
    versions
        int64[N]: number of examples that the version had learned, -1 if none was served.
    scores
        float64[N].
    labels
        The predicted classes (multiclass), else None.
    """

    versions: Ints
    scores: Floats
    labels: list[str | None]


class LoggedModel:
    """Reads the topics of one model; messages that do not count (see `headrace.wire.deduplication`) are skipped.

    Attributes
    ----------
    foreign
        Number of skipped vectors of another definition.
    asked
        Number of skipped vectors of requests: their events are in no stream.
    unreadable
        Number of messages skipped because they cannot be read as messages of their topic.
    """

    def __init__(self, logs: Logs, topics: Topics, model: ModelDefinition) -> None:
        self._logs = logs
        self._topics = topics
        self._model = model
        self.foreign = 0
        self.asked = 0
        self.unreadable = 0

    def vectors(self, selection: Selection, size: int) -> Iterator[LoggedVectors]:
        """Yield the selected vectors, at most `size` at a time."""
        self.foreign = self.asked = 0
        parts: list[LoggedVectors] = []
        count, remaining = 0, selection.limit
        for part in self._vectors(selection):
            if remaining is not None:
                part = part.take(np.arange(min(remaining, len(part))))
                remaining -= len(part)
            parts.append(part)
            count += len(part)
            if count >= size:
                joined, parts, count = _join(parts), [], 0
                yield joined
            if remaining == 0:
                break
        if count:
            joined, parts = _join(parts), []
            yield joined

    def predictions(self, logged: LoggedVectors) -> LoggedPredictions:
        """Return the predictions of these vectors."""
        size = len(logged)
        result = LoggedPredictions(np.full(size, -1, np.int64), np.full(size, np.nan), [None] * size)
        places = {
            int(partition): np.flatnonzero(logged.partitions == partition) for partition in np.unique(logged.partitions)
        }
        orders = {partition: orders_of(logged.positions[rows]) for partition, rows in places.items()}
        sorting = {partition: np.argsort(order) for partition, order in orders.items()}
        for source, payload, accepted in self._messages(self._topics.predictions(self._model.name), self._answers):
            partition = source.partition
            if source.epoch is None or partition not in places:
                continue
            predictions = self._predictions(payload)
            if predictions is None:
                continue
            rows = accepted.take(source.epoch, predictions.positions)
            targets = orders_of(_positions(predictions.positions))
            order = sorting[partition]
            at = np.minimum(np.searchsorted(orders[partition], targets, sorter=order), len(order) - 1)
            for row in rows:
                place = order[at[row]]
                if orders[partition][place] == targets[row]:
                    _note(result, int(places[partition][place]), predictions, row)
        return result

    def requests(self, selection: Selection, size: int) -> Iterator[Predictions]:
        """Yield the selected predictions of requests, with the vectors recorded in them."""
        remaining = selection.limit
        for source, payload, _ in self._messages(self._topics.predictions(self._model.name), self._answers):
            if source.epoch is not None:
                continue
            predictions = self._predictions(payload)
            if predictions is None:
                continue
            rows = selection.rows(predictions.ids, predictions.times)[:remaining]
            if remaining is not None:
                remaining -= len(rows)
            for start in range(0, len(rows), size):
                yield predictions.take(rows[start : start + size])

    def _vectors(self, selection: Selection) -> Iterator[LoggedVectors]:
        for source, payload, accepted in self._messages(self._topics.features(self._model.name), self._asks):
            try:
                vectors = decode_vectors(self._model, payload)
            except Unreadable as error:
                self._leave(error)
                continue
            if source.epoch is None:
                self.asked += len(selection.rows(vectors.ids, vectors.times))
                continue
            new = accepted.take(source.epoch, vectors.positions)
            selected = selection.rows(vectors.ids, vectors.times)
            # Copy, even if all are taken: decoded vectors keep the whole message in memory.
            vectors = vectors.take(new if len(selected) == len(vectors) else sorted({*new} & {*selected}))
            if len(vectors):
                yield LoggedVectors(
                    vectors, np.full(len(vectors), source.partition, np.int64), _positions(vectors.positions)
                )

    def _predictions(self, payload: bytes) -> Predictions | None:
        try:
            return decode_predictions(self._model, payload)
        except Unreadable as error:
            self._leave(error)
            return None

    def _leave(self, error: Unreadable) -> None:
        self.unreadable += 1
        _log.warning("message_unreadable", model=self._model.name, reason=str(error))

    def _asks(self, envelope: Envelope) -> bool:
        """Return whether vectors are questions of this learner: those of a former learner are, too."""
        return made_for(self._model, envelope)

    def _answers(self, envelope: Envelope) -> bool:
        return envelope.definition == self._model.hash

    def _messages(self, topic: str, counts: Callable[[Envelope], bool]) -> Iterator[tuple[Envelope, bytes, Accepted]]:
        by_partition: dict[int, Accepted] = {}
        for physical in self._logs.partitions(topic):
            for batch in self._logs.read(physical, FEW):
                for message in opened(batch, physical, lambda message: self._leave(message.reason)):
                    source, payload = message.envelope, message.payload
                    accepted = by_partition.setdefault(source.partition, Accepted())
                    if source.epoch is not None and not accepted.mark(source.epoch):
                        continue
                    if payload and not counts(source):
                        self.foreign += 1
                    elif payload:
                        yield source, payload, accepted


def _positions(positions: list[bytes]) -> Ints:
    """Return encoded positions as int64[N, 3]."""
    words = np.frombuffer(b"".join(positions), _POSITION)
    return np.stack([words[name].astype(np.int64) - 1 for name in ("ledger", "entry", "batch")], axis=1)


def _join(parts: list[LoggedVectors]) -> LoggedVectors:
    vectors = [part.vectors for part in parts]
    return LoggedVectors(
        Vectors(
            [event_id for part in vectors for event_id in part.ids],
            np.concatenate([part.times for part in vectors]),
            [position for part in vectors for position in part.positions],
            np.concatenate([part.cuts for part in vectors]),
            np.concatenate([part.numbers for part in vectors]),
            [
                [category for part in vectors for category in part.categories[column]]
                for column in range(len(vectors[0].categories))
            ],
            None if vectors[0].entities is None else [entity for part in vectors for entity in part.entities or ()],
        ),
        np.concatenate([part.partitions for part in parts]),
        np.concatenate([part.positions for part in parts]),
    )


def _note(result: LoggedPredictions, place: int, predictions: Predictions, row: int) -> None:
    result.versions[place] = predictions.versions[row]
    result.scores[place] = predictions.scores[row]
    if predictions.labels is not None:
        result.labels[place] = predictions.labels[row]
