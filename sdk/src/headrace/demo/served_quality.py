"""Quality of what was served: every prediction is measured in the same way as the learner's own test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pulsar

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.engine.learning import ServedQuality
from headrace.engine.quality import Quality
from headrace.runtime.pulsar.log_reader import read_whole
from headrace.wire.tables import Kind, decode_log, decode_predictions
from headrace.wire.topics import Topics

_Decoded = TypeVar("_Decoded")

HOUR = 3_600_000_000

#: Messages hold hundreds of vectors each, so only a few are prefetched.
_QUEUE = 16


@dataclass(frozen=True)
class Served:
    """A summary of one model's topics.

    Attributes
    ----------
    quality
        Quality of the served scores, each by the version that was live when the flight was announced.
    label_lags
        float64[examples]: hours from the question to its label.
    predictions, examples, dead_letters
        How many of each there are.
    """

    quality: Quality
    label_lags: npt.NDArray[np.float64]
    predictions: int
    examples: int
    dead_letters: int


def read_served(client: pulsar.Client, loop: LoopDefinition, model: ModelDefinition) -> Served:
    """Read a model's topics from beginning to end."""
    topics = Topics(loop.name)
    quality, ids = ServedQuality(model), set[str]()
    for predictions in _all(client, topics.predictions(model.name), lambda data: decode_predictions(model, data)):
        quality.predict(predictions)
        ids.update(predictions.ids)
    lags = [np.empty(0)]
    read, examples, known = -1, 0, dict[int, int]()
    for entries in _all(client, topics.examples(model.name), lambda data: decode_log(model, data)):
        # Entries that a join resends after a crash keep their sequence numbers.
        new = entries.take(np.flatnonzero(entries.seqs > read).tolist())
        read = max(read, int(entries.seqs[-1]))
        asked, answered = new.kinds == Kind.QUESTION, new.kinds == Kind.ANSWER
        before = examples + np.cumsum(answered) - answered
        examples += int(answered.sum())
        known.update(zip(new.seqs[asked].tolist(), before[asked].tolist(), strict=True))
        answers = new.answers
        questions = zip(answers.questions.tolist(), before[answered].tolist(), strict=True)
        learned = (known.pop(question, latest) for question, latest in questions)
        columns = (answers.times.tolist(), answers.labels, answers.weights.tolist(), learned)
        for id, time, label, weight, count in zip(answers.ids, *columns, strict=True):
            quality.answer(id, time, (label, weight, count))
        lags.append((answers.label_times - answers.times) / HOUR)
    dead = sum(1 for _ in _all(client, topics.dead_letters, lambda data: data))
    label_lags = np.concatenate(lags)
    return Served(quality.quality, label_lags, len(ids), len(label_lags), dead)


def _all(client: pulsar.Client, topic: str, decode: Callable[[bytes], _Decoded]) -> Iterator[_Decoded]:
    for batch in read_whole(client, topic, _QUEUE):
        yield from (decode(payload) for payload in batch.payloads if payload)
