"""The models topic, as the learner writes it."""

from __future__ import annotations

from dataclasses import dataclass

import pulsar

from headrace.definition import ModelDefinition
from headrace.log.produce import Producer
from headrace.log.read import read_whole
from headrace.v1 import models_pb2


@dataclass(frozen=True)
class Newest:
    """The newest version of a model's definition on the models topic.

    Attributes
    ----------
    examples
        How many it has learned, 0 where there is none.
    behind
        The version itself, where an older one stands behind it: that one is what compaction would keep.
    """

    examples: int = 0
    behind: models_pb2.ModelVersion | None = None


class Versions:
    """Publishes versions of models, keyed by name and definition, so that compaction keeps the newest of each.

    A message carries `definition` and `examples` as properties too.
    """

    def __init__(self, client: pulsar.Client, topic: str) -> None:
        self._client = client
        self._topic = topic
        self._producer: Producer | None = None

    def publish(self, version: models_pb2.ModelVersion) -> None:
        """Send a version; `flush` makes sure of it.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        if self._producer is None:
            self._producer = Producer(self._client, self._topic, compress=True)
        self._producer.send(
            version.SerializeToString(deterministic=True),
            key=f"{version.model}:{version.definition}",
            properties={"definition": version.definition, "examples": str(version.examples)},
        )

    def flush(self) -> None:
        """Wait until the broker has every version sent.

        Raises
        ------
        Unavailable
            One did not arrive.
        """
        if self._producer is not None:
            self._producer.flush()

    def newest(self, model: ModelDefinition) -> Newest:
        """The newest version of this definition on the topic.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        newest, last, version = 0, 0, b""
        for batch in read_whole(self._client, self._topic, max_messages=4, compacted=True):
            for payload, properties in zip(batch.payloads, batch.properties, strict=True):
                if properties.get("definition") == model.hash:
                    last = int(properties.get("examples", "0"))
                    if last >= newest:
                        newest, version = last, payload
        return Newest(newest, models_pb2.ModelVersion.FromString(version) if last < newest else None)

    def close(self) -> None:
        """Give the producer up."""
        if self._producer is not None:
            self._producer.close()
