"""Where vectors and examples go: the topics that only headrace reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pulsar

from headrace.definition import ModelDefinition
from headrace.errors import CorruptState
from headrace.kernel.fold import MadeVectors
from headrace.kernel.partition import PartitionId
from headrace.log.connection import partitions
from headrace.log.dedupe import Accepted
from headrace.log.position import Position
from headrace.log.produce import Producer
from headrace.log.read import holds_messages, read_whole
from headrace.log.tables import Vectors, decode_examples, encode_vectors, last_sequence_of
from headrace.log.topics import Topics


class OutputReached(NamedTuple):
    """How far the vectors of a model and partition are.

    Attributes
    ----------
    frontier
        Readers need not wait for vectors before this; a partition that rests holds nothing back.
    watermark
        No vector before this is still to come, whatever happens.
    """

    frontier: int
    watermark: int


class VectorOutputs:
    """The features topics: one output partition for each source partition."""

    def __init__(self, client: pulsar.Client, topics: Topics) -> None:
        self._client = client
        self._topics = topics
        self._producers: dict[tuple[str, PartitionId], Producer] = {}
        self._epochs: dict[PartitionId, int] = {}

    def open(self, source: PartitionId, epoch: int, models: Iterable[ModelDefinition]) -> None:
        """Mark the new epoch in every output of a source: readers drop what older owners still send."""
        self._epochs[source] = epoch
        for model in models:
            topic = self._topic(model.name, source)
            producer = self._producers.get((model.name, source)) or Producer(self._client, topic)
            self._producers[model.name, source] = producer
            producer.send(b"", properties={**self._properties(model, source), "marker": "epoch"})
            producer.flush()

    def refuse_unknown(self, source: PartitionId, models: Iterable[ModelDefinition]) -> None:
        """Make sure that a source of which the store knows nothing is new.

        Raises
        ------
        CorruptState
            It is not: its outputs say so.
        """
        for model in models:
            topic = self._topic(model.name, source)
            if holds_messages(self._client, topic):
                raise CorruptState(
                    f"the store knows nothing of {source.stream}-{source.partition}, but vectors of it stand on "
                    f"{topic}: `headrace backfill` rebuilds the state from the streams; who wants to begin anew takes "
                    "another namespace, or deletes the loop's topics"
                )

    def send(self, made: MadeVectors, reached: OutputReached) -> None:
        """Send vectors; the last message of them says how far they are."""
        producer = self._producers[made.model.name, made.source]
        own = made.assembled
        vectors = Vectors(
            made.ids,
            made.times,
            [Position(*row).to_bytes() for row in made.positions.tolist()],
            own.cuts,
            own.numbers,
            own.categories,
        )
        properties = self._properties(made.model, made.source)
        for part in vectors.slices():
            producer.send(encode_vectors(made.model, part), properties=properties)
        self.reached(made.model, made.source, reached)

    def reached(self, model: ModelDefinition, source: PartitionId, reached: OutputReached) -> None:
        """Tell readers how far the vectors of a source are."""
        properties = self._properties(model, source)
        properties |= {"frontier": str(reached.frontier), "watermark": str(reached.watermark)}
        self._producers[model.name, source].send(b"", properties=properties)

    def flush(self) -> None:
        """Wait until the broker has everything."""
        for producer in self._producers.values():
            producer.flush()

    def _topic(self, model: str, source: PartitionId) -> str:
        # As many as the source has: that is made sure of at the start.
        return partitions(self._client, self._topics.features(model))[source.partition]

    def _properties(self, model: ModelDefinition, source: PartitionId) -> dict[str, str]:
        return {
            "epoch": str(self._epochs[source]),
            "partition": str(source.partition),
            "definition": model.hash,
        }


@dataclass
class Logged:
    """What an examples log holds.

    Attributes
    ----------
    decided
        By id and event time of each example of the definition: the later of its two times.
    sequence
        The number of the next example, of whatever definition.
    """

    decided: dict[tuple[str, int], int]
    sequence: int


class ExamplesLog:
    """The examples log of a model, as its join writes it."""

    def __init__(self, client: pulsar.Client, topics: Topics, model: ModelDefinition) -> None:
        self.topic = topics.examples(model.name)
        self._model = model
        self._client = client
        self._producer = Producer(client, self.topic)

    def send(self, message: bytes, properties: Mapping[str, str]) -> None:
        """Write a message; it is durable after the next `flush`."""
        self._producer.send(message, properties=dict(properties))

    def flush(self) -> None:
        """Wait until the broker has everything."""
        self._producer.flush()

    def holds_messages(self) -> bool:
        """Whether anything stands there."""
        return holds_messages(self._client, self.topic)

    def logged(self) -> Logged:
        """What stands there, as its readers take it: nothing of an owner behind the first message of the next one."""
        found, accepted = Logged({}, 0), Accepted()
        for batch in read_whole(self._client, self.topic, 16):
            for payload, properties in zip(batch.payloads, batch.properties, strict=True):
                if not accepted.mark(int(properties.get("epoch", 0))) or not payload:
                    continue
                found.sequence = max(found.sequence, last_sequence_of(payload) + 1)
                if properties.get("definition") == self._model.hash:
                    examples = decode_examples(self._model, payload)
                    decided = np.maximum(examples.times, examples.label_times)
                    ids = zip(examples.ids, examples.times.tolist(), strict=True)
                    found.decided.update(zip(ids, decided.tolist(), strict=True))
        return found
