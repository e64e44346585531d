"""Scoring of the features topic: the vector of every event, in the order of its partition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from headrace.definition import ModelDefinition
from headrace.engine.former import ALL, Selection, behind, widened
from headrace.engine.model_version import Judgement, Version, judge
from headrace.errors import Unreadable
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.messages import WrongMessage, opened
from headrace.wire.deduplication import Accepted
from headrace.wire.envelope import Envelope
from headrace.wire.tables import MAX_ROWS, Predictions, Vectors, decode_vectors, prediction_messages


@dataclass(slots=True)
class Output:
    """One message of the predictions topic."""

    payload: bytes
    properties: dict[str, str]


@dataclass(slots=True)
class ScoredBatch:
    """The result of one batch of the features topic; `wrong` are the messages that hold no vectors of the model."""

    outputs: list[Output] = field(default_factory=list)
    wrong: list[WrongMessage] = field(default_factory=list)
    predictions: int = 0
    unscored: int = 0
    ignored: int = 0
    release_watermark: int | None = None


@dataclass(slots=True)
class _Run:
    """Consecutive vectors that make one message: same epoch, same source."""

    envelope: Envelope
    scored: bool
    parts: list[Vectors] = field(default_factory=list)
    size: int = 0


class StreamScorer:
    """A scorer of one partition of a model's features topic.

    Vectors of superseded owners, and those that the same owner repeats, are dropped; markers and watermarks are
    forwarded, so that readers of the predictions can drop the rest.

    Parameters
    ----------
    version
        Returns the version that answers now; None before the first, when vectors pass unscored.
    reject
        Withdraws a version, for a reason; returns the one that answers in its place.
    """

    def __init__(
        self,
        model: ModelDefinition,
        version: Callable[[], Version | None],
        reject: Callable[[Version, str], Version | None] = lambda version, reason: None,
    ) -> None:
        self._model = model
        self._reject = reject
        self._hash = model.hash
        self._version = version
        self._accepted = Accepted()

    def score(self, batch: Batch, topic: str) -> ScoredBatch:
        """Score the messages that a consumer received from a topic."""
        outcome, version = ScoredBatch(), self._version()
        former = version.former if version is not None and version.selection is None else None
        wide = widened(self._model, former) if former is not None else None
        runs: list[_Run] = []
        for message in opened(batch, topic, outcome.wrong.append):
            envelope = message.envelope
            if not self._fits(envelope.definition, version):
                outcome.ignored += 1
                continue
            columns = self._columns(envelope.former, version, wide)
            try:
                vectors = self._fresh(message.payload, envelope, columns or self._model)
            except Unreadable as error:
                outcome.wrong.append(WrongMessage(topic, message.position, message.payload, error))
                continue
            if vectors is None:
                continue
            if envelope.release_watermark is not None:
                outcome.release_watermark = envelope.release_watermark
            _extend(runs, vectors, envelope, scored=columns is not None)
        self._finish(runs, outcome, version)
        return outcome

    def _fits(self, definition: str, version: Version | None) -> bool:
        """Return whether vectors can be scored: those of a former definition can if only its learner differed."""
        if definition == self._hash:
            return True
        return version is not None and version.selection is ALL and definition == version.model.hash

    def _columns(self, former: str, version: Version | None, wide: ModelDefinition | None) -> ModelDefinition | None:
        """Return the model whose columns the vectors are read with; None if the version cannot score them.

        Parameters
        ----------
        former
            The former definition whose values follow their own in each vector, if any.
        wide
            The model with the columns of the version, if its own columns do not contain those.
        """
        if version is None:
            return None
        if version.selection is not None:
            return self._model
        return wide if version.model.hash == former else None

    def _fresh(self, payload: bytes, envelope: Envelope, columns: ModelDefinition) -> Vectors | None:
        """Return the new vectors of a message; None if its owner has been superseded."""
        epoch = envelope.epoch or 0
        # Decode first: an unreadable message must not count as a sign of its owner.
        vectors = decode_vectors(columns, payload) if payload else _nothing(columns)
        if epoch > self._accepted.epoch:
            # A scorer that begins amid the topic may have met a superseded owner first. Its vectors are dropped by
            # readers, so they must not hide those of the new owner; what that one repeats, readers drop.
            self._accepted = Accepted(epoch)
        if not self._accepted.mark(epoch):
            return None
        if not payload:
            return vectors
        rows = self._accepted.take(epoch, vectors.positions)
        return vectors if len(rows) == len(vectors) else vectors.take(rows)

    def _finish(self, runs: list[_Run], outcome: ScoredBatch, version: Version | None) -> None:
        parts = [part for run in runs if run.scored for part in run.parts]
        size = sum(len(part) for part in parts)
        outcome.unscored = sum(run.size for run in runs if not run.scored)
        predictions, unanswered = None, frozenset[int]()
        if version is not None and size:
            version, predictions, unanswered = self._predicted(version, parts)
            answered = 0 if predictions is None else size - len(unanswered)
            outcome.predictions = answered
            outcome.unscored += size - answered
        start = 0
        for run in runs:
            if predictions is None or not run.scored or not run.size:
                if run.envelope.marker or run.envelope.release_watermark is not None:
                    outcome.outputs.append(Output(b"", run.envelope.properties(b"")))
                continue
            assert version is not None
            rows = [row for row in range(start, start + run.size) if row not in unanswered]
            start += run.size
            if rows:
                outcome.outputs += _messages(version.model, predictions.take(rows), run.envelope)
            elif run.envelope.marker or run.envelope.release_watermark is not None:
                outcome.outputs.append(Output(b"", run.envelope.properties(b"")))

    def _predicted(self, version: Version, parts: list[Vectors]) -> tuple[Version, Predictions | None, frozenset[int]]:
        """Return the predictions of a version, or of the one before it if its answers are implausible.

        Also return the rows that have no answer because of their values.
        """
        while True:
            predictions, judgement = _predict(version, version.selection or behind(self._model, version.model), parts)
            if judgement.wrong is None:
                return version, predictions, judgement.unanswered
            previous = self._reject(version, judgement.wrong)
            # The vectors were decoded with the columns that this version needs.
            if previous is None or previous is version or previous.selection is None or version.selection is None:
                return version, None, frozenset()
            version = previous


def _messages(model: ModelDefinition, predictions: Predictions, envelope: Envelope) -> list[Output]:
    """Return the messages of predictions; the last one says how far they are."""
    payloads = list(prediction_messages(model, predictions))
    last = replace(envelope, definition=model.hash)
    earlier = replace(last, release_watermark=None, watermark=None)
    return [Output(payload, earlier.properties(payload)) for payload in payloads[:-1]] + [
        Output(payloads[-1], last.properties(payloads[-1]))
    ]


def _extend(runs: list[_Run], vectors: Vectors, envelope: Envelope, scored: bool) -> None:
    # Readers of predictions learn the vectors' owner and progress, not what else the features topic says.
    header = Envelope(
        epoch=envelope.epoch,
        partition=envelope.partition,
        definition=envelope.definition,
        marker=envelope.marker,
        release_watermark=envelope.release_watermark,
    )
    last = runs[-1] if runs else None
    same_run = last is not None and _source(last.envelope) == _source(header)
    # A message without vectors only reports progress: it belongs to any run.
    same_run = same_run and last is not None and (last.scored == scored or not len(vectors))
    if last is None or not same_run or last.size + len(vectors) > MAX_ROWS:
        runs.append(last := _Run(header, scored))
    # Reported progress holds once everything before it has arrived: the last report of a run counts.
    if header.release_watermark is None:
        header = replace(header, release_watermark=last.envelope.release_watermark)
    last.envelope = header
    if len(vectors):
        last.parts.append(vectors)
        last.size += len(vectors)


def _source(envelope: Envelope) -> tuple[int | None, int, bool]:
    return envelope.epoch, envelope.partition, envelope.marker


def _nothing(model: ModelDefinition) -> Vectors:
    return Vectors([], np.empty(0, np.int64), [], np.empty((0, 0, 3), np.int64), np.empty((0, 0)), [])


def _predict(version: Version, selection: Selection, parts: list[Vectors]) -> tuple[Predictions, Judgement]:
    numbers = np.concatenate([part.numbers for part in parts])
    categories = [
        [value for part in parts for value in part.categories[place]] for place in range(len(parts[0].categories))
    ]
    scores = version.score_vectors(selection, numbers, categories)
    winners = scores.winners
    predictions = Predictions(
        [id for part in parts for id in part.ids],
        np.concatenate([part.times for part in parts]),
        [position for part in parts for position in part.positions],
        np.full(len(numbers), version.examples, np.int64),
        scores.score,
        None if winners is None else [version.classes[winner] for winner in winners],
        selection.numbers_of(numbers),
        selection.categories_of(categories),
    )
    return predictions, judge(version.model.task, scores, numbers)
