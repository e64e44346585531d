"""A reader of a loop's topics as plain values for the oracle, each message once."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pulsar
import pyarrow as pa

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.runtime.pulsar.message_ids import ends_its_batch
from tests.oracle.record import NOWHERE, LoggedEntry, LoggedVector, Message, Position

#: A position as the features topic encodes it: each number plus one, so that it compares as bytes.
_POSITION = struct.Struct(">QQI")

#: The kinds of a log's entries, by number.
_KINDS = ("question", "answer", "unanswered")

#: Columns of an entry besides its number.
_ENTRY = ("kind", "question", "id", "time", "label_time", "label", "weight", "made")

#: Prefixes of feature columns: of the model's own, and of those that only its former definition asks for.
_FEATURE, _FORMER = "feature.", "feature.~"

#: This process's subscription to a loop's topics: another process reads everything again.
_NAME = f"life-recorder-{uuid4().hex[:8]}"

#: Milliseconds that a first consumer waits for an available message (each further one waits twice as long), and the
#: number of consumers in a row that may get nothing new.
_READ_MS, _TRIES = 2_000, 5


@dataclass
class Tail:
    """A physical topic, read up to its end.

    It is read by a consumer with its own subscription: one that loses its connection gets again what it has not
    acknowledged, and learns the end of the log from the broker. A reader of the embedded broker would skip what it had
    fetched before.

    Attributes
    ----------
    in_vain
        The number of consumers in a row that got nothing new. Each has a subscription of its own: the embedded broker
        may give a subscription nothing any more.
    """

    topic: str
    messages: list[Message] = field(default_factory=list)
    consumer: pulsar.Consumer | None = None
    last: pulsar.MessageId | None = None
    in_vain: int = 0

    def read(self, client: pulsar.Client) -> None:
        """Read what has arrived.

        Raises
        ------
        TimeoutError
            The broker says that there is more, and does not send it.
        """
        self.in_vain = 0
        while self.in_vain < _TRIES:
            before = self.last
            if self._read(client, _READ_MS * 2**self.in_vain):
                return
            self.in_vain = self.in_vain + 1 if self.last is before else 0
            assert self.consumer is not None
            self.consumer.close()
            self.consumer = None
        raise TimeoutError(f"{self.topic} holds more than its consumers get")

    def _read(self, client: pulsar.Client, wait_ms: int) -> bool:
        """Read what arrives; return False if a message is available and does not arrive within `wait_ms`."""
        if self.consumer is None:
            name = f"{_NAME}-{self.in_vain}" if self.in_vain else _NAME
            self.consumer = client.subscribe(
                self.topic, name, initial_position=pulsar.InitialPosition.Earliest, receiver_queue_size=1_000
            )
        before = self.last
        try:
            while self._more(self.consumer):
                self._take(self.consumer.receive(timeout_millis=wait_ms))
        except pulsar.Timeout:
            return False
        if self.last is not None and self.last is not before:
            self.consumer.acknowledge_cumulative(self.last)
        return True

    def _more(self, consumer: pulsar.Consumer) -> bool:
        if self.last is not None and not ends_its_batch(self.last):
            return True
        try:
            end = consumer.get_last_message_id()
        except pulsar.UnknownError:
            return False  # the embedded broker says this of an empty topic
        # It names the last entry, without the messages in it.
        read = (self.last.ledger_id(), self.last.entry_id()) if self.last is not None else NOWHERE[:2]
        return (end.ledger_id(), end.entry_id()) > read

    def _take(self, message: pulsar.Message) -> None:
        id = message.message_id()
        position = (id.ledger_id(), id.entry_id(), id.batch_index())
        # Brokers may redeliver messages.
        if not self.messages or position > self.messages[-1].position:
            self.messages.append(Message(position, message.data(), message.properties(), message.publish_timestamp()))
            self.last = id

    def forget_consumer(self) -> None:
        """Continue with a new consumer, of another client, where this one ended."""
        self.consumer = None


class Recorder:
    """The contents of a loop's topics.

    Attributes
    ----------
    streams
        The messages of each partition of each stream.
    """

    def __init__(self, loop: LoopDefinition, namespace: str) -> None:
        self._loop = loop
        self._prefix = f"persistent://{namespace}/{loop.name}"
        self._client: pulsar.Client | None = None
        self._streams = {stream.name: self._tails(stream.name, stream.partitions) for stream in loop.streams}
        self._features: dict[str, list[Tail]] = {}
        self._examples: dict[str, Tail] = {}
        self._vectors: dict[str, VectorLog] = {}
        self._logs: dict[str, EntryLog] = {}
        self._added: dict[str, dict[int, Position]] = {}
        self._changes: dict[str, list[int]] = {}
        self._hashes: dict[str, str] = {}
        for model in loop.models:
            self._add(model)

    @property
    def streams(self) -> dict[str, list[list[Message]]]:
        return {name: [tail.messages for tail in tails] for name, tails in self._streams.items()}

    def vectors(self, model: str) -> list[LoggedVector]:
        """Return the vectors that count."""
        return self._vectors[model].update([tail.messages for tail in self._features[model]])

    def log(self, model: str) -> list[LoggedEntry]:
        """Return the entries that count, in the order of the log."""
        return self._logs[model].update(self._examples[model].messages)

    def since(self, model: str) -> dict[int, Position]:
        """Return by partition the position after which each event has a vector."""
        added, former = self._added.get(model, {}), self._vectors[model].former
        return {
            partition: max(added.get(partition, NOWHERE), former.get(partition, NOWHERE))
            for partition in {*added, *former}
        }

    def added(self, model: str) -> dict[int, Position]:
        """Return by partition the position after which each event is a question: only for a model that was added."""
        return self._added.get(model, {})

    def changes(self, model: str) -> list[int]:
        """Return when (µs since the epoch) the definition of its examples changed, in order."""
        return self._changes.get(model, [])

    def change(self, loop: LoopDefinition, now: int) -> None:
        """Continue with a changed loop, while it is stopped."""
        present = {model.name for model in self._loop.models}
        self._loop = loop
        for model in loop.models:
            logs = self._streams[model.stream]
            ends = {partition: log.messages[-1].position for partition, log in enumerate(logs) if log.messages}
            if model.name not in self._examples:
                self._add(model)
                self._added[model.name] = ends
                continue
            is_changed, returns = model.examples_hash != self._hashes[model.name], model.name not in present
            if is_changed:
                self._make(model)
            if is_changed or returns:
                self._changes.setdefault(model.name, []).append(now)
            if returns:
                # What came while it was left out has no vectors.
                self._vectors[model.name].former |= ends

    def _add(self, model: ModelDefinition) -> None:
        self._features[model.name] = self._tails(f"{model.name}-features", self._loop.stream(model.stream).partitions)
        self._examples[model.name] = Tail(f"{self._prefix}-{model.name}-examples")
        self._make(model)

    def _make(self, model: ModelDefinition) -> None:
        self._hashes[model.name] = model.examples_hash
        self._vectors[model.name], self._logs[model.name] = VectorLog(model), EntryLog(model)

    def connect(self, url: str) -> None:
        """Read from a broker that has been started."""
        self._client = pulsar.Client(
            url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"), operation_timeout_seconds=30
        )

    def use(self, client: pulsar.Client) -> None:
        """Read with a client that the caller closes."""
        self._client = client

    def close(self) -> None:
        """Disconnect from a broker that is about to stop."""
        for tail in self._all():
            tail.forget_consumer()
        if self._client is not None:
            self._client.close()
            self._client = None

    def read(self) -> None:
        """Read what has arrived: first what the loop made, so that none of its inputs is missing."""
        assert self._client is not None
        for tail in self._all():
            tail.read(self._client)

    def _all(self) -> Iterator[Tail]:
        yield from self._examples.values()
        for tails in (*self._features.values(), *self._streams.values()):
            yield from tails

    def _tails(self, name: str, partitions: int) -> list[Tail]:
        topic = f"{self._prefix}-{name}"
        return [Tail(f"{topic}-partition-{index}" if partitions > 1 else topic) for index in range(partitions)]


class VectorLog:
    """The vectors of a features topic that count: of owners that were not superseded, and the first of a position.

    Attributes
    ----------
    former
        By partition the position of the last vector of another definition: the events up to it give examples, but no
        vectors.
    """

    def __init__(self, model: ModelDefinition) -> None:
        self.former: dict[int, Position] = {}
        self._model = model
        self._found: list[LoggedVector] = []
        self._read: dict[int, int] = {}
        self._epoch: dict[int, int] = {}
        self._newest: dict[int, bytes] = {}

    def update(self, partitions: Sequence[Sequence[Message]]) -> list[LoggedVector]:
        for partition, log in enumerate(partitions):
            for message in log[self._read.get(partition, 0) :]:
                epoch = int(message.properties.get("epoch", 0))
                if epoch >= self._epoch.get(partition, 0):
                    self._epoch[partition] = epoch
                    self._take(partition, message)
            self._read[partition] = len(log)
        return self._found

    def _take(self, partition: int, message: Message) -> None:
        if not message.payload:
            return
        columns = _columns(message.payload)
        ours = _is_of(message, self._model)
        for row, position in enumerate(columns["position"]):
            if position <= self._newest.get(partition, b""):
                continue
            self._newest[partition] = position
            if not ours:
                self.former[partition] = _position(position)
                continue
            cut = columns["cut"][row] or []
            triples: list[Position] = [(cut[at], cut[at + 1], cut[at + 2]) for at in range(0, len(cut), 3)]
            self._found.append(
                LoggedVector(
                    columns["id"][row],
                    columns["time"][row],
                    partition,
                    _position(position),
                    tuple(triples),
                    _values(columns, row),
                    message.published_ms,
                )
            )


class EntryLog:
    """The entries of a log that count: those of owners that were not superseded, and the first of a number."""

    def __init__(self, model: ModelDefinition) -> None:
        self._model = model
        self._found: list[LoggedEntry] = []
        self._read = self._epoch = 0
        self._following = 0

    def update(self, log: Sequence[Message]) -> list[LoggedEntry]:
        for message in log[self._read :]:
            epoch = int(message.properties.get("epoch", 0))
            if epoch >= self._epoch:
                self._epoch = epoch
                self._take(message)
        self._read = len(log)
        return self._found

    def _take(self, message: Message) -> None:
        if not message.payload:
            return
        columns = _columns(message.payload)
        ours = _is_of(message, self._model)
        released = message.properties.get("released") == "1"
        for row, seq in enumerate(columns["seq"]):
            if seq < self._following:
                continue
            self._following = seq + 1
            if not ours:
                continue
            kind, question, id, time, label_time, label, weight, made = (columns[name][row] for name in _ENTRY)
            values, known = _values(columns, row), (label, label_time, weight)
            self._found.append(
                LoggedEntry(
                    seq, _KINDS[kind], question, id, time, *known, values, released, bool(made), message.published_ms
                )
            )


def _is_of(message: Message, model: ModelDefinition) -> bool:
    """Return whether a message belongs to the definition of a model's examples; one that does not say is assumed to."""
    return message.properties.get("examples", model.examples_hash) == model.examples_hash


def _columns(payload: bytes) -> dict[str, list[Any]]:
    with pa.ipc.open_stream(payload) as reader:
        batch = reader.read_next_batch()
    return {name: column.to_pylist() for name, column in zip(batch.schema.names, batch.columns, strict=True)}


def _values(columns: Mapping[str, Sequence[Any]], row: int) -> dict[str, float | str | None]:
    """Return the values of the model's own features in a row."""
    names = [name for name in columns if name.startswith(_FEATURE) and not name.startswith(_FORMER)]
    values = {name[len(_FEATURE) :]: columns[name][row] for name in names}
    return {name: None if value != value else value for name, value in values.items()}


def _position(data: bytes) -> Position:
    ledger, entry, batch = _POSITION.unpack(data)
    return (ledger - 1, entry - 1, batch - 1)
