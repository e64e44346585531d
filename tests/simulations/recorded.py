"""The records that a loop has of one model: its vectors, its log of questions and answers, and what was served."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pulsar

from headrace.definition import ModelDefinition
from headrace.embedded import RunningLoop
from headrace.engine.learning import Learning
from headrace.runtime.pulsar.log_reader import read_whole
from headrace.runtime.pulsar.messages import opened, pass_over
from headrace.wire.message import Message
from headrace.wire.tables import Kind, decode_log, decode_predictions, decode_vectors
from headrace.wire.topics import Topics
from tests.oracle.delayed import NEVER, Floats, Ints, Questions, Step

#: Messages hold hundreds of vectors each, so only a few are prefetched.
_QUEUE = 16


@dataclass(frozen=True)
class ServedPredictions:
    """Predictions of events of the stream; those of requests are left out."""

    ids: list[str]
    times: Ints
    versions: Ints
    scores: Floats
    numbers: Floats


@dataclass(frozen=True)
class Recorded:
    """The topics of one model.

    Attributes
    ----------
    messages
        The messages of its log.
    questions
        The questions of the log: the moment of each is its place, its delay the number of places to its answer.
    steps
        Questions and answers in the order of the log.
    vectors
        By event id the row in `numbers` of the vectors on the features topic.
    """

    messages: list[Message]
    questions: Questions
    steps: list[Step]
    vectors: dict[str, int]
    numbers: Floats
    served: ServedPredictions


def read(running: RunningLoop, model: ModelDefinition) -> Recorded:
    """Read the topics of a model from beginning to end."""
    topics = Topics(running.definition.name, running.namespace)
    client = pulsar.Client(running.pulsar_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
    try:
        messages = list(_messages(client, topics.examples(model.name)))
        vectors, numbers = _vectors(client, topics.features(model.name), model)
        served = _served(client, topics.predictions(model.name), model)
    finally:
        client.close()
    questions, steps = _log(model, messages)
    return Recorded(messages, questions, steps, vectors, numbers, served)


def asked_by_the_learner(model: ModelDefinition, estimator: Any, recorded: Recorded) -> tuple[Floats, dict[str, float]]:
    """Return the learner's prediction for each question of the log, as of the question, and its final metrics."""
    scores = dict[int, Any]()
    learning = Learning(model, estimator, asked=scores.__setitem__)
    for message in recorded.messages:
        for _ in learning.read(message):
            learning.progress.published = learning.progress.examples
    values = [scores.get(place, np.nan) for place in recorded.questions.moments.tolist()]
    return np.array(values, np.float64), learning.quality.metrics()


def flights(files: dict[str, Path], recorded: Recorded, wait: int) -> Questions:
    """Return the questions of the flights by their event times: from the events, with only the vectors from the record.

    Parameters
    ----------
    files
        The events that were played.
    wait
        An arrival within this time of its question (µs) answers it.
    """
    asked, landed = pd.read_parquet(files["scheduled"]), pd.read_parquet(files["arrived"])
    # An answer known at t precedes a question at t, and answers tie by their questions: see `tests.oracle.delayed`.
    asked = asked.sort_values(["at", "flight"])
    times = _microseconds(asked["at"])
    arrivals = landed.drop_duplicates("flight").set_index("flight").reindex(asked["flight"])
    known = _microseconds(arrivals["at"])
    counts = (arrivals["at"].notna().to_numpy()) & (np.abs(known - times) <= wait)
    late = (arrivals["arrival_delay"] > 15).tolist()
    ids = asked["flight"].tolist()
    return Questions(
        ids,
        times,
        times,
        # No answer is known before its question is asked.
        np.where(counts, np.maximum(known - times, 0), NEVER),
        [bool(label) if counted else None for label, counted in zip(late, counts.tolist(), strict=True)],
        recorded.questions.names,
        recorded.numbers[[recorded.vectors[id] for id in ids]],
    )


def _microseconds(times: pd.Series[Any]) -> Ints:
    micros: Ints = times.dt.as_unit("us").astype("int64").to_numpy()
    return micros


def _messages(client: pulsar.Client, topic: str) -> Iterator[Message]:
    for batch in read_whole(client, topic, _QUEUE):
        yield from opened(batch, topic, pass_over)


def _vectors(client: pulsar.Client, topic: str, model: ModelDefinition) -> tuple[dict[str, int], Floats]:
    rows: dict[str, int] = {}
    numbers = [np.empty((0, len(model.features)))]
    size = 0
    for _, payload, envelope in _messages(client, topic):
        if payload and envelope.epoch is not None:
            vectors = decode_vectors(model, payload)
            for row, id in enumerate(vectors.ids, size):
                rows.setdefault(id, row)
            numbers.append(vectors.numbers)
            size += len(vectors)
    return rows, np.concatenate(numbers)


def _served(client: pulsar.Client, topic: str, model: ModelDefinition) -> ServedPredictions:
    ids: dict[str, None] = {}
    times, versions, scores = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    parts = [(times, versions, scores, np.empty((0, len(model.features))))]
    for _, payload, envelope in _messages(client, topic):
        if payload and envelope.epoch is not None:
            served = decode_predictions(model, payload)
            # If a scorer sent some again, the first one counts.
            new = [row for row, id in enumerate(served.ids) if id not in ids]
            ids.update(dict.fromkeys(served.ids))
            parts.append((served.times[new], served.versions[new], served.scores[new], served.numbers[new]))
    times, versions, scores, numbers = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ServedPredictions(list(ids), times, versions, scores, numbers)


def _log(model: ModelDefinition, messages: list[Message]) -> tuple[Questions, list[Step]]:
    """Return the questions of a log, and its order."""
    ids: list[str] = []
    moments: list[int] = []
    times: list[int] = []
    delays: list[int] = []
    labels: list[bool | None] = []
    steps: list[Step] = []
    numbers = [np.empty((0, len(model.features)))]
    indices: dict[int, int] = {}
    read_to = -1
    for _, payload, _ in messages:
        if not payload:
            continue
        entries = decode_log(model, payload)
        # Entries that a join resends after a crash keep their sequence numbers.
        entries = entries.take(np.flatnonzero(entries.seqs > read_to).tolist())
        read_to = max([read_to, *entries.seqs[-1:].tolist()])
        columns = (entries.kinds.tolist(), entries.seqs.tolist(), entries.questions.tolist(), entries.times.tolist())
        for kind, seq, question, time, id, label in zip(*columns, entries.ids, entries.labels, strict=True):
            if kind == Kind.QUESTION:
                indices[seq] = len(ids)
                steps.append((len(ids), True))
                ids.append(id)
                moments.append(seq)
                times.append(time)
                delays.append(NEVER)
                labels.append(None)
            elif kind == Kind.ANSWER:
                index = indices[question]
                steps.append((index, False))
                delays[index] = seq - question
                labels[index] = float(label) > 0.5
        numbers.append(entries.numbers[entries.kinds == Kind.QUESTION])
    names = tuple(feature.name for feature in model.features)
    questions = Questions(
        ids,
        np.array(times, np.int64),
        np.array(moments, np.int64),
        np.array(delays, np.int64),
        labels,
        names,
        np.concatenate(numbers),
    )
    return questions, steps
