"""Reading of the served predictions, to join them with their answers."""

from __future__ import annotations

from collections.abc import Sequence

import pulsar
import structlog

from headrace.definition import ModelDefinition
from headrace.engine.learning import ServedQuality
from headrace.errors import Unavailable, Unreadable
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.pulsar.messages import WrongMessage, opened, pass_over
from headrace.wire.message import Message
from headrace.wire.position import START
from headrace.wire.tables import decode_predictions, predicted_questions

_log = structlog.get_logger()

#: Messages taken from a partition at a time, and prefetched: each holds up to thousands of predictions.
_FEW = 16

#: Batches read in a row: learning must not wait long.
_TURNS = 16


class PredictionReader:
    """A reader of a model's predictions topic that continues where its served quality left off.

    Served quality is only displayed: an unavailable broker stops nothing here.

    Parameters
    ----------
    topics
        The physical topics.
    """

    def __init__(self, client: pulsar.Client, model: ModelDefinition, topics: Sequence[str]) -> None:
        self._client = client
        self._model = model
        self._topics = topics
        self._readers: dict[str, LogReader] = {}

    def read(self, quality: ServedQuality) -> None:
        """Take the predictions that have arrived."""
        for topic in self._topics:
            try:
                self._read(topic, quality)
            except Unavailable as error:
                _log.warning("predictions_not_read", model=self._model.name, reason=str(error))
                self._close(topic)

    def close(self) -> None:
        """Close all readers; the next read opens them at the positions of its served quality."""
        for topic in list(self._readers):
            self._close(topic)

    def _read(self, topic: str, quality: ServedQuality) -> None:
        reader = self._readers.get(topic)
        if reader is None:
            reader = LogReader(self._client, topic, quality.positions.get(topic, START), _FEW)
            self._readers[topic] = reader
        for _ in range(_TURNS):
            batch = reader.receive(_FEW, timeout_ms=1)
            for message in opened(batch, topic, pass_over):
                if message.payload:
                    self._take(message, topic, quality)
            if batch:
                quality.positions[topic] = batch.positions[-1]
            if len(batch) < _FEW:
                break

    def _take(self, message: Message, topic: str, quality: ServedQuality) -> None:
        try:
            if message.envelope.definition == self._model.hash:
                quality.predict(decode_predictions(self._model, message.payload))
            else:
                # Predictions of another definition may have other columns.
                quality.predict_otherwise(*predicted_questions(message.payload))
        except Unreadable as error:
            pass_over(WrongMessage(topic, message.position, message.payload, error))

    def _close(self, topic: str) -> None:
        reader = self._readers.pop(topic, None)
        if reader is not None:
            reader.close()
