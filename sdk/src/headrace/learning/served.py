"""Quality of the answers that were really given: predictions as they were served, joined with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np

from headrace.definition import ModelDefinition, Task
from headrace.log.tables import Kind, LogEntries, Predictions
from headrace.quality import Outcomes, Quality, quality_of, restore

#: Bytes that a waiting prediction or answer takes, with an id of 20 characters.
_BYTES = 320

#: Answers that wait for a prediction that is a little late; the oldest one beyond was not served.
MAX_ANSWERS = 10_000

#: Metrics that predictions do not tell: the scorer writes the probability of the class that it predicted, and no other.
_UNKNOWN = {Task.MULTICLASS: ("log_loss",)}

#: Counts that mean nothing here.
_LEARNERS = ("examples", "scored", "unasked", "dropped", "drift_alarms")

_Value = TypeVar("_Value")


class _Key(NamedTuple):
    """A question: its event id and event time (µs)."""

    id: str
    time: int


class _Prediction(NamedTuple):
    score: float
    predicted: str | None


class _Answer(NamedTuple):
    label: float | str
    weight: float


class ServedState(msgspec.Struct):
    """What a checkpoint keeps of served quality."""

    quality: bytes
    unserved: int
    predictions: list[tuple[str, int, float, str | None]]
    answers: list[tuple[str, int, float | str, float]]


# Made on import: msgspec looks at a type with its first decoder, and two threads that do so at once crash the process.
_STATE = msgspec.msgpack.Decoder(ServedState)


class ServedQuality:
    """Joins predictions with their answers by event id and time, whichever comes first, in bounded memory.

    Of two predictions of one question the first counts. Predictions wait for their answers in at most the model's
    `waiting_bytes`; beyond it the oldest are dropped, and their answers count as not served.

    Parameters
    ----------
    model
        Its definition.
    """

    def __init__(self, model: ModelDefinition) -> None:
        self._model = model
        self._quality: Quality = quality_of(model)
        self._predictions: dict[_Key, _Prediction] = {}
        self._answers: dict[_Key, _Answer] = {}
        self._unserved = 0
        self._most = max(1, model.waiting_bytes // _BYTES)

    def predict(self, predictions: Predictions) -> None:
        """Take predictions that were served."""
        labels: Sequence[str | None] = predictions.labels or ([None] * len(predictions))
        found: list[tuple[_Key, _Prediction, _Answer]] = []
        columns = zip(predictions.ids, predictions.times.tolist(), predictions.scores.tolist(), labels, strict=True)
        for id, time, score, label in columns:
            key, prediction = _Key(id, time), _Prediction(score, label)
            answer = self._answers.pop(key, None)
            if answer is not None:
                found.append((key, prediction, answer))
            else:
                self._predictions.setdefault(key, prediction)
        self._score(found)
        _shorten(self._predictions, self._most)

    def answer(self, entries: LogEntries) -> None:
        """Take entries of the model's log, in its order."""
        found: list[tuple[_Key, _Prediction, _Answer]] = []
        labels = entries.labels if isinstance(entries.labels, list) else entries.labels.tolist()
        columns = (entries.times.tolist(), labels, entries.weights.tolist())
        for kind, id, time, label, weight in zip(entries.kinds.tolist(), entries.ids, *columns, strict=True):
            if kind == Kind.QUESTION:
                continue
            key = _Key(id, time)
            prediction = self._predictions.pop(key, None)
            if kind == Kind.UNANSWERED:
                continue
            if prediction is not None:
                found.append((key, prediction, _Answer(label, weight)))
            else:
                self._answers.setdefault(key, _Answer(label, weight))
        self._score(found)
        self._unserved += _shorten(self._answers, MAX_ANSWERS)

    @property
    def quality(self) -> Quality:
        """The metrics of the pairs, without their prefix, with the quality over time."""
        return self._quality

    def metrics(self) -> dict[str, float]:
        """The metrics as of what was served, each called `served_…`; how many answers had a prediction, and had none.

        An answer that waits for its prediction counts as not served, until it comes.
        """
        found = self._quality.metrics()
        unknown = (*_LEARNERS, *_UNKNOWN.get(self._model.task, ()))
        named = {f"served_{name}": value for name, value in found.items() if name not in unknown}
        return {"served": found["scored"], "unserved": float(self._unserved + len(self._answers)), **named}

    def dump(self) -> bytes:
        """Everything, for a checkpoint."""
        predictions = [(*key, *prediction) for key, prediction in self._predictions.items()]
        answers = [(*key, *answer) for key, answer in self._answers.items()]
        return msgspec.msgpack.encode(ServedState(self._quality.dump(), self._unserved, predictions, answers))

    @classmethod
    def load(cls, model: ModelDefinition, data: bytes) -> ServedQuality:
        """The inverse of `dump`."""
        state = _STATE.decode(data)
        served = cls(model)
        served._quality, served._unserved = restore(model, state.quality), state.unserved
        for id, time, score, predicted in state.predictions:
            served._predictions[_Key(id, time)] = _Prediction(score, predicted)
        for id, time, label, weight in state.answers:
            served._answers[_Key(id, time)] = _Answer(label, weight)
        return served

    def _score(self, found: list[tuple[_Key, _Prediction, _Answer]]) -> None:
        if not found:
            return
        text = self._model.task is Task.MULTICLASS
        labels = [answer.label for _, _, answer in found]
        self._quality.update(
            Outcomes(
                np.array([key.time for key, _, _ in found], np.int64),
                [str(label) for label in labels] if text else np.array(labels, np.float64),
                np.array([prediction.score for _, prediction, _ in found], np.float64),
                [prediction.predicted for _, prediction, _ in found] if text else (),
                np.array([answer.weight for _, _, answer in found], np.float64),
            )
        )


def _shorten(waiting: dict[_Key, _Value], most: int) -> int:
    """Remove the oldest entries beyond a number; tell how many they were."""
    excess = len(waiting) - most
    for key in list(waiting)[: max(excess, 0)]:
        del waiting[key]
    return max(excess, 0)
