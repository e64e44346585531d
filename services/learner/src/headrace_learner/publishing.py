"""The models topic, as the learner writes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import pulsar

from headrace.definition import ModelDefinition, ViewDefinition
from headrace.log.produce import Producer
from headrace.log.versions import Newest, newest_versions
from headrace.v1 import models_pb2


class Versions:
    """Publishes versions of models, keyed by name and definition, so that compaction keeps the newest of each.

    A message carries `definition` and `examples` as properties too.

    Parameters
    ----------
    views
        Those that the models' features read.
    """

    def __init__(self, client: pulsar.Client, topic: str, views: Sequence[ViewDefinition] = ()) -> None:
        self._client = client
        self._topic = topic
        self._hashes = {view.name: view.hash for view in views}
        self._views = [msgspec.json.encode(view) for view in views]
        self._producer: Producer | None = None

    def publish(self, version: models_pb2.ModelVersion) -> None:
        """Send a version; `flush` makes sure of it.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        version.views.update(self._hashes)
        version.view_definitions[:] = self._views
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
        """See `headrace.log.versions.newest_versions`."""
        return newest_versions(self._client, self._topic, [model])[model.name]

    def close(self) -> None:
        """Give the producer up."""
        if self._producer is not None:
            self._producer.close()
