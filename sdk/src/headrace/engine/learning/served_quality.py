"""Quality of the answers that were really given: predictions as served, joined with their labels.

In production, a version that answers a question has learned nothing that became known after the question. Where
history is played faster than it is scored, it may have: even the question's own label. Such an answer tells nothing
about production, so it is counted as given with hindsight, and not measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TypeAlias, TypeVar

import msgspec
import numpy as np

from headrace.definition import ModelDefinition, Task
from headrace.engine.quality import Outcomes, Quality, quality_of, restore
from headrace.wire.position import Position
from headrace.wire.tables import Predictions

#: Number of bytes that a waiting prediction or answer takes, with an id of 20 characters.
_BYTES = 320

#: Number of answers that wait for a prediction that is a little late; older ones count as not served.
MAX_ANSWERS = 100_000

# Number of answers beyond them that are dropped at once. To find the oldest key of a dictionary, Python passes over the
# places of all keys removed before: one answer at a time, that takes 18 µs. What reads the answers drops these first.
_SLACK = 4_096

# Number of pairs that the metrics take at once.
_MANY = 1_024

#: Metrics that predictions do not give: the scorer writes the probability of the class that it predicted, and no other.
_UNKNOWN = {Task.MULTICLASS: ("log_loss",)}

#: Counts that have no meaning here.
_LEARNERS = ("examples", "scored", "unasked", "dropped", "drift_alarms")

_Value = TypeVar("_Value")


#: A question: its event id and event time (µs).
_Key: TypeAlias = tuple[str, int]

#: A prediction: its score, the class if the task is multiclass, and how many examples its version had learned.
_Prediction: TypeAlias = tuple[float, str | None, int]

#: An answer: its label, its weight, and how many examples were known when its question was asked.
Answer: TypeAlias = tuple[float | str, float, int]


class ServedState(msgspec.Struct):
    """State of the served quality in a checkpoint."""

    quality: bytes
    unserved: int
    hindsight: int
    count: int
    predictions: list[tuple[str, int, float, str | None, int]]
    answers: list[tuple[str, int, float | str, float, int]]
    positions: dict[str, Position]
    otherwise: list[tuple[str, int]] = []


# Made on import: msgspec inspects a type with its first decoder, and two threads that do so at once crash the process.
_STATE = msgspec.msgpack.Decoder(ServedState)


class ServedQuality:
    """Joins predictions with their answers by event id and time, whichever comes first, in bounded memory.

    The first of two predictions of one question counts. Predictions wait for their answers in at most the model's
    `waiting_bytes`; beyond that the oldest are dropped, and their answers count as not served.

    Parameters
    ----------
    model
        The definition of the model.

    Attributes
    ----------
    positions
        By topic, the position up to which predictions were read: their reader keeps it here, to be saved with them.
    """

    def __init__(self, model: ModelDefinition) -> None:
        self._model = model
        self._quality: Quality = quality_of(model)
        self._predictions: dict[_Key, _Prediction] = {}
        self._answers: dict[_Key, Answer] = {}
        self._otherwise: dict[_Key, None] = {}
        self._pairs: list[tuple[_Key, _Prediction, Answer]] = []
        self._unserved_count = self._hindsight_count = self._count = 0
        self.positions: dict[str, Position] = {}
        self._max_predictions = max(1, model.waiting_bytes // _BYTES)

    def predict(self, predictions: Predictions) -> None:
        """Take predictions that were served."""
        self._drop_answers()
        labels: Sequence[str | None] = predictions.labels or ([None] * len(predictions))
        numbers = (column.tolist() for column in (predictions.times, predictions.scores, predictions.versions))
        times, scores, versions = numbers
        for id, time, *rest in zip(predictions.ids, times, scores, labels, versions, strict=True):
            key, prediction = (id, time), tuple(rest)
            if key in self._otherwise:
                continue
            answer = self._answers.pop(key, None)
            if answer is not None:
                self._pairs.append((key, prediction, answer))
            else:
                self._predictions.setdefault(key, prediction)
        _shorten(self._predictions, self._max_predictions)
        self._settle(_MANY)

    def predict_otherwise(self, ids: Sequence[str], times: Sequence[int]) -> None:
        """Take questions that another definition of the model answered: they count as neither served nor unserved."""
        self._drop_answers()
        for key in zip(ids, times, strict=True):
            if key not in self._predictions and self._answers.pop(key, None) is None:
                self._otherwise.setdefault(key)
        _shorten(self._otherwise, MAX_ANSWERS)

    def answer(self, id: str, time: int, answer: Answer) -> None:
        """Take the answer of a question."""
        key = (id, time)
        if key in self._otherwise:
            del self._otherwise[key]
            return
        prediction = self._predictions.pop(key, None)
        if prediction is None:
            self._await_prediction(key, answer)
        else:
            self._pairs.append((key, prediction, answer))
            self._settle(_MANY)

    def answer_all(self, ids: Iterable[str], times: Iterable[int], answers: Sequence[Answer]) -> None:
        """Take the answers of questions whose labels are numbers, in order."""
        keys = list(zip(ids, times, strict=True))
        batch = dict(zip(keys, answers, strict=True))
        known = (self._otherwise, self._predictions, self._answers)
        if len(batch) == len(keys) and all(batch.keys().isdisjoint(questions.keys()) for questions in known):
            self._answers.update(batch)
            self._drop_answers(_SLACK)
        else:
            self._join_all(zip(keys, answers, strict=True))
        self._settle(_MANY)

    def _join_all(self, batch: Iterable[tuple[_Key, Answer]]) -> None:
        """Join answers with their predictions, in order."""
        predictions, otherwise, pairs = self._predictions, self._otherwise, self._pairs
        for key, answer in batch:
            if key in otherwise:
                del otherwise[key]
                continue
            prediction = predictions.pop(key, None)
            if prediction is None:
                self._await_prediction(key, answer)
            else:
                pairs.append((key, prediction, answer))

    def _await_prediction(self, key: _Key, answer: Answer) -> None:
        if key in self._answers:
            # The question's earlier answer is one of those to drop, perhaps.
            self._drop_answers()
        self._answers.setdefault(key, answer)
        self._drop_answers(_SLACK)

    def _drop_answers(self, slack: int = 0) -> None:
        """Drop the oldest answers beyond the bound, if there are more than `slack` of them."""
        if len(self._answers) > MAX_ANSWERS + slack:
            self._unserved_count += _shorten(self._answers, MAX_ANSWERS)

    def close(self, id: str, time: int) -> None:
        """Forget a question whose answer, if it has one, does not belong to this definition's log."""
        self._predictions.pop((id, time), None)
        self._otherwise.pop((id, time), None)

    @property
    def quality(self) -> Quality:
        """The metrics of the pairs, without their prefix, and the quality over time."""
        self._settle()
        return self._quality

    @property
    def count(self) -> int:
        """Number of answers that had a prediction."""
        return self._count + len(self._pairs)

    def metrics(self) -> dict[str, float]:
        """Return the metrics of what was served, named `served_…`, and what became of the answers.

        `served` of them are measured; `hindsight` had a prediction by a version that knew too much; `unserved` had
        none. An answer that waits for its prediction counts as not served until the prediction comes.
        """
        metrics = self.quality.metrics()
        unknown = (*_LEARNERS, *_UNKNOWN.get(self._model.task, ()))
        # Before anything is measured, metrics are only their initial values.
        values = metrics if metrics["scored"] else {}
        served = {f"served_{name}": value for name, value in values.items() if name not in unknown}
        unserved = float(self._unserved_count + len(self._answers))
        counts = {"served": metrics["scored"], "hindsight": float(self._hindsight_count), "unserved": unserved}
        return counts | served

    def dump(self) -> bytes:
        """Serialize everything for a checkpoint."""
        self._drop_answers()
        predictions = [key + prediction for key, prediction in self._predictions.items()]
        answers = [key + answer for key, answer in self._answers.items()]
        quality = self.quality.dump()
        counts = (self._unserved_count, self._hindsight_count, self._count)
        state = ServedState(quality, *counts, predictions, answers, self.positions, list(self._otherwise))
        return msgspec.msgpack.encode(state)

    @classmethod
    def load(cls, model: ModelDefinition, data: bytes) -> ServedQuality:
        """Restore what `dump` returned."""
        state = _STATE.decode(data)
        quality = cls(model)
        quality._quality, quality._unserved_count = restore(model, state.quality), state.unserved
        quality._hindsight_count, quality._count = state.hindsight, state.count
        quality.positions = state.positions
        for id, time, score, predicted, version in state.predictions:
            quality._predictions[id, time] = (score, predicted, version)
        for id, time, label, weight, examples in state.answers:
            quality._answers[id, time] = (label, weight, examples)
        quality._otherwise = dict.fromkeys(state.otherwise)
        return quality

    def _settle(self, minimum: int = 1) -> None:
        """Give the pairs to the metrics, once there are at least this many."""
        if len(self._pairs) < minimum:
            return
        joined, self._pairs = self._pairs, []
        self._count += len(joined)
        pairs = [pair for pair in joined if not _had_hindsight(*pair)]
        self._hindsight_count += len(joined) - len(pairs)
        if not pairs:
            return
        text = self._model.task is Task.MULTICLASS
        labels = [label for _, _, (label, _, _) in pairs]
        self._quality.update(
            Outcomes(
                np.array([time for (_, time), _, _ in pairs], np.int64),
                [str(label) for label in labels] if text else np.array(labels, np.float64),
                np.array([score for _, (score, _, _), _ in pairs], np.float64),
                [predicted for _, (_, predicted, _), _ in pairs] if text else (),
                np.array([weight for _, _, (_, weight, _) in pairs], np.float64),
            )
        )


def _had_hindsight(_: _Key, prediction: _Prediction, answer: Answer) -> bool:
    version, examples = prediction[2], answer[2]
    return version > examples


def _shorten(waiting: dict[_Key, _Value], limit: int) -> int:
    """Remove the oldest entries beyond a number; return how many were removed."""
    excess = len(waiting) - limit
    if excess <= 0:
        return 0
    for key in list(islice(waiting, excess)):
        del waiting[key]
    return excess
