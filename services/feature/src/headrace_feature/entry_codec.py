"""The bytes of a join: the vectors of waiting questions, and the entries of the model's log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from headrace.definition import ModelDefinition, Task
from headrace.engine.kernel.join import Logged, Rule
from headrace.wire.tables import Kind, LogEntries, log_messages

# Created on import, before there are threads: see `headrace.runtime.redis.pairs`.
_PACKED = msgspec.msgpack.Decoder(tuple[bytes, list[str | None]])


def pack_vector(numbers: np.ndarray[tuple[int], np.dtype[np.float64]], texts: list[str | None]) -> bytes:
    """Return the bytes of a vector, as they wait for its label."""
    return msgspec.msgpack.encode((numbers.tobytes(), texts))


def unpack_vector(payload: bytes) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], list[str | None]]:
    """Return the numbers and texts that `pack_vector` was given."""
    numbers, texts = _PACKED.decode(payload)
    return np.frombuffer(numbers, np.float64), texts


class EncodedEntries(NamedTuple):
    """Messages of a log, and how many of their entries are answers."""

    messages: list[bytes]
    answers: int


class EntryEncoder:
    """Encodes the decisions of a model's join as entries of its log."""

    def __init__(self, model: ModelDefinition, rule: Rule) -> None:
        self._model = model
        self._rule = rule

    def encode(self, entries: Sequence[Logged]) -> EncodedEntries:
        """Return the messages that hold these entries."""
        weights = [self._weight_of(entry) for entry in entries]
        kinds = [
            Kind.QUESTION if entry.asks else Kind.UNANSWERED if weight is None else Kind.ANSWER
            for entry, weight in zip(entries, weights, strict=True)
        ]
        questions = [entry.question for entry in entries]
        values = [unpack_vector(question.vector or b"") for question in questions]
        labels = [
            question.outcome.value if kind == Kind.ANSWER and question.outcome else None
            for kind, question in zip(kinds, questions, strict=True)
        ]
        log_entries = LogEntries(
            np.array([entry.seq for entry in entries], np.int64),
            np.array(kinds, np.int8),
            np.array([question.seq for question in questions], np.int64),
            [question.id for question in questions],
            np.array([question.time for question in questions], np.int64),
            np.array([self._label_time(entry) for entry in entries], np.int64),
            self._label_column(labels),
            np.array([1.0 if weight is None else weight for weight in weights]),
            np.stack([numbers for numbers, _ in values]),
            [list(column) for column in zip(*(texts for _, texts in values), strict=True)],
            np.array([question.made for question in questions]),
        )
        return EncodedEntries(list(log_messages(self._model, log_entries)), kinds.count(Kind.ANSWER))

    def _label_column(
        self, labels: Sequence[float | str | None]
    ) -> list[str] | np.ndarray[tuple[int], np.dtype[np.float64]]:
        if self._model.task is Task.MULTICLASS:
            return ["" if label is None else str(label) for label in labels]
        return np.array([np.nan if label is None else label for label in labels], np.float64)

    def _weight_of(self, entry: Logged) -> float | None:
        """Return how many examples an answer counts for; None if the entry is not an answer."""
        question = entry.question
        if entry.asks or question.outcome is None:
            return None
        return self._rule.weight(question.id, question.outcome.value)

    def _label_time(self, entry: Logged) -> int:
        """Return the time of an entry's label; for a question, its own time."""
        return entry.question.time if entry.asks else entry.question.label_time(self._rule.bound)
