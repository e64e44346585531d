"""The models topic, as the learner writes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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
    taken_over
        Whether it answers in place of the definition before it.
    former
        The newest version of the definition before it, None where there is none.
    others
        The hashes of all other definitions of the model.
    """

    examples: int = 0
    behind: models_pb2.ModelVersion | None = None
    taken_over: bool = False
    former: models_pb2.ModelVersion | None = None
    others: frozenset[str] = frozenset()


@dataclass
class _Found:
    """What a walk through the models topic has found of one model."""

    model: ModelDefinition
    newest: models_pb2.ModelVersion | None = None
    last: int = 0
    former: models_pb2.ModelVersion | None = None
    others: set[str] = field(default_factory=set)

    def take(self, version: models_pb2.ModelVersion) -> None:
        if version.definition == self.model.hash:
            self.last = version.examples
            if self.newest is None or version.examples >= self.newest.examples:
                self.newest = version
            return
        self.others.add(version.definition)
        # One that never answered is not the one before.
        if version.taken_over and version.model_definition:
            same = self.former is not None and self.former.definition == version.definition
            if not same or self.former is None or version.examples >= self.former.examples:
                self.former = version

    def result(self) -> Newest:
        newest = self.newest
        if newest is None:
            return Newest(former=self.former, others=frozenset(self.others))
        behind = newest if self.last < newest.examples else None
        return Newest(newest.examples, behind, newest.taken_over, self.former, frozenset(self.others))


class Versions:
    """Publishes versions of models, keyed by name and definition, so that compaction keeps the newest of each.

    A message carries `definition` and `examples` as properties too.

    Parameters
    ----------
    views
        The hashes of the views that the models' features read, by name.
    """

    def __init__(self, client: pulsar.Client, topic: str, views: Mapping[str, str] | None = None) -> None:
        self._client = client
        self._topic = topic
        self._views = views or {}
        self._producer: Producer | None = None

    def publish(self, version: models_pb2.ModelVersion) -> None:
        """Send a version; `flush` makes sure of it.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        version.views.update(self._views)
        self._send(
            version.SerializeToString(deterministic=True),
            f"{version.model}:{version.definition}",
            {"definition": version.definition, "examples": str(version.examples)},
        )

    def drop(self, model: ModelDefinition, definitions: Iterable[str]) -> None:
        """Let compaction remove all versions of other definitions of a model.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        for definition in sorted(definitions):
            self._send(b"", f"{model.name}:{definition}", {})

    def _send(self, payload: bytes, key: str, properties: dict[str, str]) -> None:
        if self._producer is None:
            self._producer = Producer(self._client, self._topic, compress=True)
        self._producer.send(payload, key=key, properties=properties)

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
        """The newest versions on the topic of this definition, and of the one before it.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        found = _Found(model)
        for batch in read_whole(self._client, self._topic, max_messages=4, compacted=True):
            for payload in batch.payloads:
                version = models_pb2.ModelVersion.FromString(payload)
                if version.model == model.name:
                    found.take(version)
        return found.result()

    def close(self) -> None:
        """Give the producer up."""
        if self._producer is not None:
            self._producer.close()
