"""Compare the examples that a changed model has on its log with the oracle."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pulsar

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.wire.tables import Kind, LogEntries, decode_log
from tests.life.recorder import Tail
from tests.oracle.events import Judged, judge
from tests.oracle.examples import examples_of
from tests.oracle.record import LoggedEntry, Message
from tests.oracle.vectors import VectorCheck

#: Maximum number of differences shown of one kind.
_SHOWN = 3

#: The vectors hold every event, however late it was published.
_ALL = 2**63

#: An example: id, event time, label, when it was known, weight.
_Example = tuple[str, int, float | str, int, float]


@dataclass
class Comparison:
    """The log's contents for the new definition.

    Attributes
    ----------
    reused
        Examples of a former definition that the new one learns unchanged.
    made
        Examples that were made again from kept events.
    joined
        Examples that were joined as their labels came.
    vectors
        How many vectors were compared.
    wrong
        The differences.
    """

    reused: int = 0
    made: int = 0
    joined: int = 0
    expected: int = 0
    vectors: int = 0
    wrong: list[str] = field(default_factory=list)


def compare(
    loop: LoopDefinition, model: ModelDefinition, url: str, namespace: str, *, sample: int | None, seed: int = 1
) -> Comparison:
    """Compare the examples of a model's definition, and the vectors of a `sample` of them, with the oracle.

    Vectors are compared with ones that wait for every partition, so the events have to be in order of time.
    """
    prefix = f"persistent://{namespace}/{loop.name}"
    client = pulsar.Client(url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
    with closing(client):
        log = _read(client, f"{prefix}-{model.name}-examples")
        streams = {
            stream.name: [_read(client, topic) for topic in _partitions(prefix, stream.name, stream.partitions)]
            for stream in loop.streams
        }
    judged = judge(loop, streams)
    comparison = Comparison()
    entries = list(_entries(model, log, comparison))
    _compare_examples(loop, model, judged, entries, comparison)
    check = VectorCheck(loop, model, judged, streams)
    comparison.vectors, wrong = _compare_vectors(check, model, entries, sample, seed)
    if wrong:
        comparison.wrong.append(f"{len(wrong)} values of vectors are wrong: {wrong[:_SHOWN]}")
    return comparison


def _partitions(prefix: str, stream: str, count: int) -> list[str]:
    topic = f"{prefix}-{stream}"
    return [f"{topic}-partition-{index}" for index in range(count)] if count > 1 else [topic]


def _read(client: pulsar.Client, topic: str) -> list[Message]:
    tail = Tail(topic)
    tail.read(client)
    return tail.messages


def _entries(model: ModelDefinition, log: list[Message], comparison: Comparison) -> Iterator[LogEntries]:
    """Yield the answers that the new definition learns; count them by origin."""
    epoch = 0
    following = 0
    for message in log:
        if int(message.properties.get("epoch", 0)) < epoch:
            continue
        epoch = int(message.properties.get("epoch", 0))
        former = message.properties.get("definition") != model.hash
        if not message.payload or (former and message.properties.get("examples") != model.examples_hash):
            continue
        entries = decode_log(model, message.payload)
        entries = entries.take([row for row, seq in enumerate(entries.seqs.tolist()) if seq >= following])
        following = max(following, *entries.seqs.tolist()) + 1 if len(entries) else following
        answers = entries.answers
        count = int(answers.made.sum()) if answers.made is not None else 0
        comparison.made += count
        comparison.reused += len(answers) if former else 0
        comparison.joined += 0 if former else len(answers) - count
        questions = int((entries.kinds == Kind.QUESTION).sum())
        if questions or len(answers):
            yield answers


def _compare_examples(
    loop: LoopDefinition, model: ModelDefinition, judged: Judged, entries: list[LogEntries], comparison: Comparison
) -> None:
    expected = {
        (id, time, value, max(time, known), weight)
        for id, time, value, known, weight in examples_of(loop, model, judged).made
    }
    counts: Counter[_Example] = Counter()
    for part in entries:
        columns = part.times.tolist(), list(part.labels), part.label_times.tolist(), part.weights.tolist()
        for id, time, value, known, weight in zip(part.ids, *columns, strict=True):
            counts[id, time, value, max(time, known), weight] += 1
    comparison.expected = len(expected)
    missing, more = sorted(expected - set(counts)), sorted(set(counts) - expected)
    twice = sorted(key for key, count in counts.items() if count > 1)
    for what, keys in (("missing", missing), ("not expected", more), ("twice", twice)):
        if keys:
            comparison.wrong.append(f"{len(keys)} examples {what}: {keys[:_SHOWN]}")


def _compare_vectors(
    check: VectorCheck, model: ModelDefinition, entries: list[LogEntries], sample: int | None, seed: int
) -> tuple[int, list[str]]:
    """Return how many vectors were compared, and what is wrong with them."""
    places = [(part, row) for part in entries for row in range(len(part))]
    chosen = places if sample is None or sample >= len(places) else random.Random(seed).sample(places, sample)
    wrong = [text for part, row in chosen for text in check.wrong_made(_entry(model, part, row), _ALL)]
    return len(chosen), wrong


def _entry(model: ModelDefinition, part: LogEntries, row: int) -> LoggedEntry:
    """Return an answer as the oracle takes it; the model has no texts among its features."""
    values = part.numbers[row].tolist()
    held = {
        feature.name: None if value != value else value for feature, value in zip(model.features, values, strict=True)
    }
    places = int(part.seqs[row]), "answer", int(part.questions[row])
    known = int(part.label_times[row]), float(part.weights[row])
    return LoggedEntry(*places, part.ids[row], int(part.times[row]), part.labels[row], *known, held, False, True)
