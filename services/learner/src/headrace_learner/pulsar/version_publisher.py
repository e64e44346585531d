"""The models topic, as the learner writes to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
import pulsar

from headrace.definition import ModelDefinition, ViewDefinition
from headrace.errors import TooLarge
from headrace.runtime.pulsar.log_ends import entries_of
from headrace.runtime.pulsar.model_versions import Newest, newest_versions
from headrace.runtime.pulsar.producer import Producer
from headrace.v1 import models_pb2
from headrace.wire.envelope import Envelope


class VersionPublisher:
    """A publisher of versions, keyed by model and definition, so that compaction keeps the newest of each.

    The header of a message names the definition, too.

    Parameters
    ----------
    views
        The views that the models' features read.

    Attributes
    ----------
    too_large
        Why a version was not published; the publishing code reports and clears it.
    """

    def __init__(self, client: pulsar.Client, topic: str, views: Sequence[ViewDefinition] = ()) -> None:
        self._client = client
        self._topic = topic
        self._hashes = {view.name: view.hash for view in views}
        self._views = [msgspec.json.encode(view) for view in views]
        self._producer: Producer | None = None
        self.too_large: TooLarge | None = None

    def publish(self, version: models_pb2.ModelVersion) -> None:
        """Send a version; `flush` makes sure that it arrives.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        version.views.update(self._hashes)
        version.view_definitions[:] = self._views
        payload = version.SerializeToString(deterministic=True)
        properties = Envelope(definition=version.definition).properties(payload)
        self._send(payload, f"{version.model}:{version.definition}", properties)

    def drop(self, model: ModelDefinition, definitions: Iterable[str]) -> None:
        """Let compaction remove all versions of a model's other definitions.

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
        with self._noting():
            self._producer.check()
        self._producer.send(payload, key=key, properties=properties)

    def flush(self) -> None:
        """Wait until the broker has every version sent.

        Raises
        ------
        Unavailable
            A version did not arrive.
        """
        if self._producer is not None:
            with self._noting():
                self._producer.flush()

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note a version that is too large for the broker: those before and after it are not affected."""
        try:
            yield
        except TooLarge as error:
            self.too_large = error

    def newest(self, model: ModelDefinition, log: str) -> Newest:
        """See `headrace.runtime.pulsar.model_versions.newest_versions`; no version learned more than the log holds."""
        entries = entries_of(self._client, log)
        limits = {} if entries is None else {model.name: entries}
        return newest_versions(self._client, self._topic, [model], limits)[model.name]

    def close(self) -> None:
        """Close the producer, if any."""
        if self._producer is not None:
            self._producer.close()
