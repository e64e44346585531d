"""Outputs for vectors and examples: topics that only headrace reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pulsar

from headrace.definition import ModelDefinition
from headrace.engine.kernel.fold import MadeVectors
from headrace.engine.kernel.join import Written
from headrace.engine.kernel.partition import PartitionId
from headrace.errors import CorruptState
from headrace.runtime.pulsar.connection import partitions
from headrace.runtime.pulsar.log_reader import holds_data, read_whole
from headrace.runtime.pulsar.messages import decoded, opened, pass_over
from headrace.runtime.pulsar.producer import Producer, wake
from headrace.wire.deduplication import Accepted
from headrace.wire.envelope import Envelope
from headrace.wire.message import Message
from headrace.wire.position import Position
from headrace.wire.tables import Kind, LogEntries, Vectors, decode_log, last_sequence_of, made_for, vector_messages
from headrace.wire.topics import Topics


class OutputReached(NamedTuple):
    """The progress of the vectors of one model and partition.

    Attributes
    ----------
    release_watermark
        Readers need not wait for vectors before this; an idle or ended partition holds nothing back.
    watermark
        No vector before this is still to come, in any case.
    """

    release_watermark: int
    watermark: int


class VectorOutputs:
    """The features topics: one output partition for each source partition."""

    def __init__(self, client: pulsar.Client, topics: Topics) -> None:
        self._client = client
        self._topics = topics
        self._producers: dict[tuple[str, PartitionId], Producer] = {}
        self._epochs: dict[PartitionId, int] = {}

    def open(
        self, source: PartitionId, epoch: int, models: Iterable[ModelDefinition], missed: Mapping[str, bytes]
    ) -> None:
        """Mark the new epoch in every output of a source: readers then drop what older owners still send.

        Parameters
        ----------
        missed
            By model that the former owner did not have, the position of the last event that it has no vector for.
        """
        self._epochs[source] = epoch
        for model in models:
            topic = self._topic(model.name, source)
            producer = self._producers.get((model.name, source)) or Producer(self._client, topic)
            self._producers[model.name, source] = producer
            envelope = replace(self._envelope(model, source), marker=True, missed=missed.get(model.name, b""))
            producer.send(b"", properties=envelope.properties(b""))
            producer.flush()

    def refuse_unknown(self, source: PartitionId, models: Iterable[ModelDefinition]) -> None:
        """Check that a source which the store does not know is new.

        Raises
        ------
        CorruptState
            It is not: its outputs hold vectors.
        """
        for model in models:
            topic = self._topic(model.name, source)
            if holds_data(self._client, topic):
                raise CorruptState(
                    f"the store has no state of {source.stream}-{source.partition}, but {topic} holds vectors of it: "
                    "`headrace backfill` rebuilds the state from the streams; to start from nothing, choose another "
                    "namespace or delete the loop's topics"
                )

    def send(self, made: MadeVectors, reached: OutputReached, former: str = "") -> None:
        """Send vectors; the last message says how far they are.

        Parameters
        ----------
        former
            The hash of the former definition whose values follow the model's own in each vector.
        """
        producer = self._producers[made.model.name, made.source]
        assembled = made.assembled
        vectors = Vectors(
            made.ids,
            made.times,
            [Position(*row).to_bytes() for row in made.positions.tolist()],
            assembled.cuts,
            assembled.numbers,
            assembled.categories,
            made.entities,
        )
        envelope = replace(self._envelope(made.model, made.source), former=former)
        for payload in vector_messages(made.columns, vectors):
            producer.send(payload, properties=envelope.properties(payload))
        self.reached(made.model, made.source, reached)

    def reached(self, model: ModelDefinition, source: PartitionId, reached: OutputReached) -> None:
        """Publish how far the vectors of a source are."""
        envelope = replace(
            self._envelope(model, source), release_watermark=reached.release_watermark, watermark=reached.watermark
        )
        self._producers[model.name, source].send(b"", properties=envelope.properties(b""))

    def flush(self) -> None:
        """Wait until the broker has everything."""
        for producer in self._producers.values():
            producer.flush()

    def _topic(self, model: str, source: PartitionId) -> str:
        # It has as many as the source: this is checked at startup.
        return partitions(self._client, self._topics.features(model))[source.partition]

    def wake(self, source: PartitionId) -> None:
        """Send the owner of a partition a message so that it takes the partition over."""
        stream = partitions(self._client, self._topics.stream(source.stream))
        wake(self._client, stream[source.partition])

    def _envelope(self, model: ModelDefinition, source: PartitionId) -> Envelope:
        return Envelope(
            epoch=self._epochs[source],
            partition=source.partition,
            definition=model.hash,
            examples=model.examples_hash,
        )


@dataclass
class LogContent:
    """The entries that a model's log holds already.

    Attributes
    ----------
    written
        By id and event time, the questions of this definition, or of one that differs in its learner only.
    sequence
        The number of the next entry, of any definition.
    """

    written: dict[tuple[str, int], Written] = field(default_factory=dict)
    sequence: int = 0

    def add(self, entries: LogEntries) -> None:
        """Add entries of the definition."""
        for kind, seq, id, time, label_time in zip(
            entries.kinds.tolist(),
            entries.seqs.tolist(),
            entries.ids,
            entries.times.tolist(),
            entries.label_times.tolist(),
            strict=True,
        ):
            if kind == Kind.QUESTION:
                self.written[id, time] = Written(seq, None, time)
            elif (id, time) in self.written:
                question = self.written[id, time].question
                self.written[id, time] = Written(question, seq, max(time, label_time))


class ExamplesLog:
    """The log of a model's questions and answers, as its join writes it."""

    def __init__(self, client: pulsar.Client, topics: Topics, model: ModelDefinition) -> None:
        self.topic = topics.examples(model.name)
        self._model = model
        self._client = client
        self._producer = Producer(client, self.topic)

    def send(self, message: bytes, envelope: Envelope) -> None:
        """Write a message; it is durable after the next `flush`."""
        self._producer.send(message, properties=envelope.properties(message))

    def flush(self) -> None:
        """Wait until the broker has everything."""
        self._producer.flush()

    def holds_entries(self) -> bool:
        """Return whether the log holds any entry."""
        return holds_data(self._client, self.topic)

    def content(self) -> LogContent:
        """Read the log as its readers do: skip what an owner sent after the first message of its successor."""
        content, accepted = LogContent(), Accepted()
        for batch in read_whole(self._client, self.topic, 16):
            messages = opened(batch, self.topic, pass_over)
            for message, entries in decoded(messages, self.topic, self._entries, pass_over):
                if not accepted.mark(message.envelope.epoch or 0) or not message.payload:
                    continue
                content.sequence = max(content.sequence, last_sequence_of(message.payload) + 1)
                if entries is not None:
                    content.add(entries)
        return content

    def _entries(self, message: Message) -> LogEntries | None:
        """Return a message's entries if they are of this definition, or of one that differs in its learner only."""
        if not message.payload:
            return None
        if made_for(self._model, message.envelope):
            return decode_log(self._model, message.payload)
        last_sequence_of(message.payload)
        return None
