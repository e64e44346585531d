"""Producing: asynchronous, bounded, and sure at each flush."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pulsar

from headrace.errors import Unavailable


class Producer:
    """Sends to one topic without waiting; `flush` makes sure of all that was sent before.

    A full queue blocks the sender: that is the back-pressure.

    Parameters
    ----------
    batching
        True for topics with one event a message, False for those with columnar batches.
    schema
        The stream's schema, registered at the broker with the first producer.
    """

    def __init__(
        self,
        client: pulsar.Client,
        topic: str,
        *,
        batching: bool = False,
        schema: pulsar.schema.Schema | None = None,
        max_pending: int = 2_000,
    ) -> None:
        self.topic = topic
        self._failure: str | None = None
        self._lock = threading.Lock()
        try:
            self._producer = client.create_producer(
                topic,
                schema=schema or pulsar.schema.BytesSchema(),
                block_if_queue_full=True,
                max_pending_messages=max_pending,
                batching_enabled=batching,
                batching_max_messages=1_000,
                batching_max_allowed_size_in_bytes=1 << 20,
                batching_max_publish_delay_ms=2,
                hashing_scheme=pulsar.HashingScheme.Murmur3_32Hash,
                send_timeout_millis=30_000,
            )
        except pulsar.PulsarException as error:
            raise Unavailable(f"broker: cannot produce to {topic}: {error}") from error

    def send(
        self,
        payload: bytes,
        *,
        key: str | None = None,
        properties: dict[str, str] | None = None,
        done: Callable[[bool], None] | None = None,
    ) -> None:
        """Send; `done`, from the client's thread, says whether the broker has it durably."""

        def callback(result: Any, _message_id: Any) -> None:
            accepted = result == pulsar.Result.Ok
            if not accepted:
                with self._lock:
                    self._failure = str(result)
            if done is not None:
                done(accepted)

        self._producer.send_async(payload, callback, partition_key=key, properties=properties)

    def flush(self) -> None:
        """Wait until the broker has everything.

        Raises
        ------
        Unavailable
            Something sent since the last flush did not arrive.
        """
        try:
            self._producer.flush()
        except pulsar.PulsarException as error:
            raise Unavailable(f"broker: {self.topic}: {error}") from error
        with self._lock:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise Unavailable(f"broker: {self.topic}: {failure}")

    def close(self) -> None:
        self._producer.close()
