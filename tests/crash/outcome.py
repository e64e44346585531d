"""The outcome of a run, as its readers see it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pulsar

from headrace.definition import ModelDefinition
from headrace.runtime.pulsar.connection import partitions
from headrace.runtime.pulsar.message_ids import position_of
from headrace.v1.dead_letter_pb2 import DeadLetter
from headrace.wire.deduplication import Accepted
from headrace.wire.position import Position
from headrace.wire.tables import Kind, LogEntries, decode_log, decode_predictions, decode_vectors
from headrace_learner.checkpoint import Checkpoints
from headrace_learner.state_hash import state_hash
from tests.crash.site import Site

#: Bytes of a row's header: it holds epoch and position, which differ between two runs, and what depends on them.
_HEADER = 40


class Message(NamedTuple):
    """A message with its publish time (s since the epoch)."""

    position: Position
    payload: bytes
    properties: dict[str, str]
    published: float


@dataclass
class Taken:
    """Records that readers of a topic accept: the rest of each by event id; `order` has the ids of each partition."""

    found: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    order: dict[int, list[str]] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)

    def take(self, partition: int, id: str, value: tuple[Any, ...]) -> None:
        if id in self.found:
            self.twice.append(id)
        self.found[id] = value
        self.order.setdefault(partition, []).append(id)


@dataclass
class Learned:
    """The contents of a learner's newest checkpoint."""

    examples: int
    state: str
    metrics: dict[str, float]
    quality: str


@dataclass
class Outcome:
    """Everything that two runs of the same events have in common."""

    rows: dict[tuple[str, str], bytes] = field(default_factory=dict)
    vectors: dict[str, Taken] = field(default_factory=dict)
    predictions: dict[str, Taken] = field(default_factory=dict)
    examples: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    logs: dict[str, list[tuple[int, str, int, int]]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    learned: dict[str, Learned] = field(default_factory=dict)
    dead_letters: Counter[tuple[str, str, str, bytes]] = field(default_factory=Counter)
    #: Dead letters for an event that already has one: written again after a crash.
    letters_repeated: int = 0
    #: Publish times of the messages of each partition, by topic.
    published: dict[str, list[list[float]]] = field(default_factory=dict)


def read(site: Site) -> Outcome:
    """Read everything; the site's processes have stopped."""
    outcome = Outcome()
    _Reading(site, site.grounds.client, outcome).run()
    _rows(site, outcome)
    for model in site.loop.models:
        learning = Checkpoints(site.data("learner") / "checkpoints", model).load()
        if learning is not None:
            quality = learning.quality
            outcome.learned[model.name] = Learned(
                learning.progress.examples,
                state_hash(learning.estimator),
                quality.metrics(),
                hashlib.sha256(quality.dump()).hexdigest(),
            )
    return outcome


def _rows(site: Site, outcome: Outcome) -> None:
    with site.redis() as store:
        keys = sorted(store.scan_iter(f"headrace:{site.loop.name}:row:*", count=1_000))
        pipe = store.pipeline(transaction=False)
        for key in keys:
            pipe.hgetall(key)
        for key, fields in zip(keys, pipe.execute(), strict=True):
            for name, value in fields.items():
                outcome.rows[key.decode(), name.decode()] = value[_HEADER:]


class _Reading:
    def __init__(self, site: Site, client: pulsar.Client, outcome: Outcome) -> None:
        self._site = site
        self._client = client
        self._outcome = outcome

    def run(self) -> None:
        topics, models = self._site.topics, self._site.loop.models
        names = [topics.models, topics.dead_letters]
        for model in models:
            names += [topics.features(model.name), topics.predictions(model.name), topics.examples(model.name)]
        physical = [(name, partition) for name in names for partition in partitions(self._client, name)]
        with ThreadPoolExecutor(8) as threads:
            results = list(threads.map(lambda item: messages(self._client, item[1]), physical))
        logs: dict[str, list[list[Message]]] = {}
        for (name, _), log in zip(physical, results, strict=True):
            logs.setdefault(name, []).append(log)
        for model in models:
            self._vectors(model, logs[topics.features(model.name)])
            self._predictions(model, logs[topics.predictions(model.name)])
            self._examples(model, logs[topics.examples(model.name)][0])
        self._dead_letters([message for log in logs[topics.dead_letters] for message in log])
        self._outcome.published = {
            name: [[m.published for m in log] for log in topic_logs] for name, topic_logs in logs.items()
        }

    def _dead_letters(self, log: Sequence[Message]) -> None:
        places = Counter[tuple[str, bytes]]()
        for letter in (DeadLetter.FromString(message.payload) for message in log):
            # `expected` is left out: for a late event it names the newest event before it, which may be a resent one.
            self._outcome.dead_letters[letter.stream, letter.field, letter.value, letter.event] += 1
            if letter.position:
                places[letter.topic, letter.position] += 1
        self._outcome.letters_repeated = places.total() - len(places)

    def _vectors(self, model: ModelDefinition, logs: Sequence[Sequence[Message]]) -> None:
        output = self._outcome.vectors.setdefault(model.name, Taken())
        if model.vectors == "requests":
            return
        for partition, log in enumerate(logs):
            for payload, epoch, accepted in _owned(log):
                vectors = decode_vectors(model, payload)
                for row in accepted.take(epoch, vectors.positions):
                    texts = tuple(column[row] for column in vectors.categories)
                    value = (int(vectors.times[row]), vectors.numbers[row].tobytes(), texts)
                    output.take(partition, vectors.ids[row], value)

    def _predictions(self, model: ModelDefinition, logs: Sequence[Sequence[Message]]) -> None:
        output = self._outcome.predictions.setdefault(model.name, Taken())
        for partition, log in enumerate(logs):
            # Answers to requests are not compared here.
            for payload, epoch, accepted in _owned([message for message in log if "epoch" in message.properties]):
                predictions = decode_predictions(model, payload)
                for row in accepted.take(epoch, predictions.positions):
                    texts = tuple(column[row] for column in predictions.categories)
                    output.take(
                        partition,
                        predictions.ids[row],
                        (int(predictions.times[row]), predictions.numbers[row].tobytes(), texts),
                    )

    def _examples(self, model: ModelDefinition, log: Sequence[Message]) -> None:
        newest, following = 0, 0
        examples = self._outcome.examples.setdefault(model.name, [])
        order = self._outcome.logs.setdefault(model.name, [])
        for message in log:
            epoch = int(message.properties.get("epoch", 0))
            if epoch < newest:
                continue
            newest = epoch
            if not message.payload:
                continue
            entries = decode_log(model, message.payload)
            for row, seq in enumerate(entries.seqs.tolist()):
                if seq < following:
                    continue
                if seq > following:
                    self._outcome.faults.append(f"log of {model.name}: number {seq} follows on {following - 1}")
                following = seq + 1
                kind = int(entries.kinds[row])
                order.append((kind, entries.ids[row], int(entries.times[row]), int(entries.questions[row])))
                if kind == Kind.ANSWER:
                    examples.append(_example(entries, row))


def _example(entries: LogEntries, row: int) -> tuple[Any, ...]:
    label = entries.labels[row]
    return (
        entries.ids[row],
        int(entries.times[row]),
        int(entries.label_times[row]),
        label if isinstance(label, str) else float(label),
        entries.numbers[row].tobytes(),
        tuple(column[row] for column in entries.categories),
    )


def _owned(log: Sequence[Message]) -> Iterator[tuple[bytes, int, Accepted]]:
    """Yield the vector messages of valid owners, each with its epoch and what was accepted before."""
    accepted = Accepted()
    for message in log:
        epoch = int(message.properties.get("epoch", 0))
        if accepted.mark(epoch) and message.payload:
            yield message.payload, epoch, accepted


def messages(client: pulsar.Client, topic: str) -> list[Message]:
    """Return everything that a partition holds."""
    reader = client.create_reader(topic, pulsar.MessageId.earliest, receiver_queue_size=1_000)
    log: list[Message] = []
    try:
        while _more(reader):
            try:
                message = reader.read_next(timeout_millis=5_000)
            except pulsar.Timeout:
                break
            position = position_of(message.message_id())
            if not log or position > log[-1].position:
                log.append(Message(position, message.data(), message.properties(), message.publish_timestamp() / 1_000))
    finally:
        reader.close()
    return log


def _more(reader: pulsar.Reader) -> bool:
    try:
        return bool(reader.has_message_available())
    except pulsar.PulsarException:
        return False  # the embedded broker says this of an empty topic
