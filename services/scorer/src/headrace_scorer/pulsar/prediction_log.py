"""Logging of what was served, off the request's path: predictions, and vectors of models fed by requests."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pulsar
import structlog

from headrace.definition import ModelDefinition
from headrace.engine.former import ALL, Selection
from headrace.errors import TooLarge, Unavailable
from headrace.runtime.pulsar.producer import Producer
from headrace.wire.envelope import Envelope
from headrace.wire.position import START
from headrace.wire.tables import (
    MAX_ROWS,
    Categories,
    Numbers,
    Predictions,
    Vectors,
    prediction_messages,
    vector_messages,
)
from headrace.wire.topics import Topics
from headrace_scorer.ports import ScoredRequests, Unscored

_log = structlog.get_logger()

_TIMEOUT_S = 30.0

#: The position of a vector that came with a request: it is in no stream.
_NOWHERE = START.to_bytes()


@dataclass(frozen=True, slots=True)
class Scored:
    """A version's answer to a vector; `definition` is the version's own."""

    definition: ModelDefinition
    selection: Selection
    version: int
    score: float
    label: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One vector that was asked about, and the prediction that was served: None before the first version.

    `learned` says whether the model learns from the vector, if its vectors come from requests.
    """

    model: ModelDefinition
    id: str
    time: int
    scored: Scored | None
    numbers: list[float]
    texts: list[str | None]
    cut: list[list[int]]
    learned: bool = True


# Seconds between two checks whether the process ends; new entries and `close` end the wait.
_LOOK_S = 5.0


@dataclass(frozen=True, slots=True)
class Message:
    """One message for one topic."""

    topic: str
    payload: bytes
    properties: dict[str, str]


class PredictionQueue:
    """Entries on their way to the broker: bounded in number and in waiting time.

    An entry that is taken is sent eventually, unless the process ends before the broker is back.
    If the oldest has waited longer than `patience`, the broker counts as down and new entries are refused, so
    that the answers can say so.
    """

    def __init__(self, size: int, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._patience = patience
        self._clock = clock
        self._entries: deque[Entry] = deque()
        self._sending = 0
        self._oldest: float | None = None
        self._changed = threading.Condition()
        self._closed = False

    def offer(self, batch: Unscored, rows: Sequence[int]) -> bool:
        """See `headrace_scorer.ports.ServedLog`."""
        with self._changed:
            now = self._clock()
            waiting = len(self._entries) + self._sending
            late = self._oldest is not None and now - self._oldest > self._patience
            if late or self._closed or waiting + len(rows) > self._size:
                return False
            if not waiting:
                self._oldest = now
            self._entries.extend(_entry(batch, row) for row in rows)
            self._changed.notify()
            return True

    def take(self, timeout: float) -> list[Entry]:
        """Return waiting entries, at most `MAX_ROWS`; call `sent` once the broker has them."""
        with self._changed:
            if not self._entries and not self._closed:
                self._changed.wait(timeout)
            entries = [self._entries.popleft() for _ in range(min(len(self._entries), MAX_ROWS))]
            self._sending = len(entries)
            return entries

    def sent(self) -> None:
        """Note that the broker has what was taken last."""
        with self._changed:
            self._sending = 0
            self._oldest = self._clock() if self._entries else None

    def close(self) -> None:
        """Take no further entries; `finished` is true once the rest is sent."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def finished(self) -> bool:
        """Whether it is closed and empty."""
        with self._changed:
            return self._closed and not self._entries and not self._sending

    def __len__(self) -> int:
        with self._changed:
            return len(self._entries) + self._sending


def messages(topics: Topics, entries: Sequence[Entry]) -> list[Message]:
    """Return the messages that log these entries: one per model and topic, or more if they are large."""
    vectors: dict[str, list[Entry]] = {}
    predictions: dict[tuple[str, str], list[tuple[Entry, Scored]]] = {}
    for entry in entries:
        name = entry.model.name
        if entry.learned and entry.model.vectors == "requests":
            vectors.setdefault(name, []).append(entry)
        if entry.scored is not None:
            answering = entry.scored.definition.hash
            predictions.setdefault((name, answering), []).append((entry, entry.scored))
    result = []
    # Vectors first: a prediction without its vector is useless to the join.
    for name, questions in vectors.items():
        model = questions[0].model
        envelope = Envelope(definition=model.hash, examples=model.examples_hash)
        result += _messages(topics.features(name), vector_messages(model, _vectors(questions)), envelope)
    for (name, _), pairs in predictions.items():
        model = pairs[0][1].definition
        envelope = Envelope(definition=model.hash)
        result += _messages(topics.predictions(name), prediction_messages(model, _predictions(pairs)), envelope)
    return result


def _messages(topic: str, payloads: Iterable[bytes], envelope: Envelope) -> list[Message]:
    return [Message(topic, payload, envelope.properties(payload)) for payload in payloads]


class PredictionSender(threading.Thread):
    """A thread that sends the queue's entries, with retries until the broker has them."""

    def __init__(
        self, client: pulsar.Client, topics: Topics, queue: PredictionQueue, sent: Callable[[int], None]
    ) -> None:
        super().__init__(name="prediction log", daemon=True)
        self._client = client
        self._topics = topics
        self._queue = queue
        self._sent = sent
        self._producers: dict[str, Producer] = {}
        self._abandon = threading.Event()
        self.refused = 0

    def run(self) -> None:
        """Send until the queue is closed and empty, or abandoned."""
        while not self._queue.finished and not self._abandon.is_set():
            entries = self._queue.take(_LOOK_S)
            if entries:
                sent = self._send(entries)
                if sent or not self._abandon.is_set():
                    self._queue.sent()
                self._sent(sent)

    def stop(self, grace: float) -> None:
        """Send the rest for `grace` seconds, then give up."""
        self._queue.close()
        self.join(grace)
        self._abandon.set()
        if len(self._queue):
            _log.warning("served_predictions_lost", count=len(self._queue))

    def _send(self, entries: Sequence[Entry]) -> int:
        """Send entries until the broker has them; return how many it accepts."""
        try:
            return len(entries) if self._deliver(messages(self._topics, entries)) else 0
        except TooLarge as error:
            if len(entries) > 1:
                middle = len(entries) // 2
                return self._send(entries[:middle]) + self._send(entries[middle:])
            # No retry can succeed, and the entries behind it must not wait.
            self.refused += 1
            _log.error("served_prediction_too_large", model=entries[0].model.name, reason=str(error))
            return 0

    def _deliver(self, outgoing: list[Message]) -> bool:
        """Send messages until the broker has them; return False if the process ends first.

        Raises
        ------
        TooLarge
            One of them is larger than the broker accepts.
        """
        warned = False
        while not self._abandon.is_set():
            try:
                # After a failure all are sent again: readers keep the first vector of an id.
                for message in outgoing:
                    self._producer(message.topic).send(message.payload, properties=message.properties)
                for topic in {message.topic for message in outgoing}:
                    self._producer(topic).flush()
            except (Unavailable, pulsar.PulsarException) as error:
                if not warned:
                    _log.warning("served_predictions_not_logged", error=str(error))
                warned = True
                self._abandon.wait(0.2)
            else:
                return True
        return False

    def _producer(self, topic: str) -> Producer:
        if topic not in self._producers:
            # Their order does not matter, so checking only now and then whether the process ends costs nothing.
            self._producers[topic] = Producer(self._client, topic, timeout_s=_TIMEOUT_S)
        return self._producers[topic]


def _entry(batch: Unscored, row: int) -> Entry:
    assembled = batch.assembled
    return Entry(
        batch.model,
        batch.ids[row],
        batch.times[row],
        _scored(batch, row) if isinstance(batch, ScoredRequests) else None,
        assembled.numbers[row].tolist(),
        [column[row] for column in assembled.categories],
        assembled.cuts[row].tolist(),
        batch.learned if isinstance(batch, ScoredRequests) else True,
    )


def _scored(batch: ScoredRequests, row: int) -> Scored:
    winners = batch.scores.winners
    label = None if winners is None else batch.version.classes[winners[row]]
    # A former definition's own vectors, or the part of the loop definition's vectors that holds them.
    selection = (batch.version.selection if batch.learned else None) or ALL
    return Scored(batch.version.model, selection, batch.version.examples, float(batch.scores.score[row]), label)


def _vectors(entries: Sequence[Entry]) -> Vectors:
    return Vectors(
        [entry.id for entry in entries],
        np.array([entry.time for entry in entries], np.int64),
        [_NOWHERE] * len(entries),
        np.array([entry.cut for entry in entries], np.int64).reshape(len(entries), -1, 3),
        *_columns(entries),
    )


def _predictions(pairs: Sequence[tuple[Entry, Scored]]) -> Predictions:
    entries, answers = [entry for entry, _ in pairs], [answer for _, answer in pairs]
    numbers, categories = _columns(entries)
    selection = answers[0].selection
    return Predictions(
        [entry.id for entry in entries],
        np.array([entry.time for entry in entries], np.int64),
        [_NOWHERE] * len(entries),
        np.array([answer.version for answer in answers], np.int64),
        np.array([answer.score for answer in answers]),
        None if answers[0].label is None else [answer.label or "" for answer in answers],
        selection.numbers_of(numbers),
        selection.categories_of(categories),
    )


def _columns(entries: Sequence[Entry]) -> tuple[Numbers, Categories]:
    numbers = np.array([entry.numbers for entry in entries], np.float64).reshape(len(entries), -1)
    return numbers, [list(column) for column in zip(*(entry.texts for entry in entries), strict=True)]
