"""The models topic, as the learner writes it."""

from __future__ import annotations

import pulsar

from headrace.definition import ModelDefinition
from headrace.log.produce import Producer
from headrace.log.read import read_whole
from headrace.v1 import models_pb2


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

    def newest(self, model: ModelDefinition) -> int:
        """The examples of the newest version of this definition on the topic, 0 when there is none."""
        newest = 0
        for batch in read_whole(self._client, self._topic, max_messages=4, compacted=True):
            for properties in batch.properties:
                if properties.get("definition") == model.hash:
                    newest = max(newest, int(properties.get("examples", "0")))
        return newest

    def close(self) -> None:
        """Give the producer up."""
        if self._producer is not None:
            self._producer.close()
