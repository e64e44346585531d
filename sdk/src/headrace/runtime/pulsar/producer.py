"""Producing: asynchronous, bounded, and durable after each flush."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import repeat
from typing import Any

import pulsar

from headrace.errors import HeadraceError, TooLarge, Unavailable
from headrace.runtime.pulsar.routing import route
from headrace.wire.limits import MAX_MESSAGE
from headrace.wire.topics import WAKE


def _hint(error: Exception) -> str:
    """Return how to find the field that does not fit: the client's error names none."""
    if isinstance(error, pulsar.IncompatibleSchema):
        return "; `headrace apply LOOP --pulsar-admin URL` names the field, and changes nothing then"
    return ""


def wake(client: pulsar.Client, topic: str) -> None:
    """Send an empty message, with which the owner chosen by the broker takes over a physical topic's partition."""
    with temporary_producer(client, topic) as producer:
        producer.send(b"", properties={WAKE: "1"})


@contextmanager
def temporary_producer(client: pulsar.Client, topic: str) -> Iterator[Producer]:
    """Yield a producer of a few messages, which are durable at the end of the context; close it in any case.

    Raises
    ------
    TooLarge, Unavailable
        As in `Producer`.
    """
    producer = Producer(client, topic)
    try:
        yield producer
        producer.flush()
    finally:
        # Nothing depends on it: the messages are durable by now, or have failed.
        with suppress(pulsar.PulsarException):
            producer.close()


class Producer:
    """Sends to one topic without waiting; `flush` waits until all that was sent before is durable.

    A full queue blocks the sender: this is the back-pressure.

    Parameters
    ----------
    batching
        True for topics with one event per message, False for those with columnar batches.
    schema
        The stream's schema, registered at the broker with the first producer.
    max_pending
        Maximum number of messages that the broker has not answered yet.
    timeout_s
        A message that the broker has not accepted within this time has failed. None: it is sent until the broker has
        it, so that no message of an ordered sequence is left out; one that cannot be sent at all also fails those
        after it.
    compress
        Compress messages; for large ones, such as models.

    Raises
    ------
    Unavailable
        The broker does not answer, or refuses the producer.
    """

    def __init__(
        self,
        client: pulsar.Client,
        topic: str,
        *,
        batching: bool = False,
        schema: pulsar.schema.Schema | None = None,
        max_pending: int = 2_000,
        timeout_s: float | None = None,
        compress: bool = False,
    ) -> None:
        self.topic = topic
        self._max_pending = max_pending
        self._failure: HeadraceError | None = None
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
                message_router=route,
                compression_type=pulsar.CompressionType.ZSTD if compress else pulsar.CompressionType.NONE,
                send_timeout_millis=int((timeout_s or 0.0) * 1_000),
            )
        except pulsar.PulsarException as error:
            raise Unavailable(f"broker: cannot produce to {topic}: {error}{_hint(error)}") from error

    def send(
        self,
        payload: bytes,
        *,
        key: str | None = None,
        properties: dict[str, str] | None = None,
        done: Callable[[bool], None] | None = None,
    ) -> None:
        """Send a message; `done`, called from the client's thread, says whether the broker has it durably.

        Raises
        ------
        TooLarge
            This message, or one sent before, is larger than the broker accepts: it is not sent, and never will be.
        Unavailable
            This message cannot be sent, or one sent before did not arrive.
        """

        def callback(result: Any, _message_id: Any) -> None:
            accepted = result == pulsar.Result.Ok
            if not accepted:
                with self._lock:
                    self._failure = self._error_of(result)
            if done is not None:
                done(accepted)

        self._raise_failure()
        try:
            self._producer.send_async(payload, callback, partition_key=key, properties=properties)
        except pulsar.MessageTooBig as error:
            raise self._error_of(pulsar.Result.MessageTooBig) from error
        except pulsar.PulsarException as error:
            raise Unavailable(f"broker: {self.topic}: {error}") from error

    def send_all(
        self, payloads: Sequence[bytes], keys: Sequence[str], properties: Sequence[dict[str, str]] = ()
    ) -> None:
        """Send messages in order, each with its key, and wait until the broker has all of them durably.

        Parameters
        ----------
        properties
            The properties of each message; by default none.

        Raises
        ------
        TooLarge
            A message is larger than the broker accepts.
        Unavailable
            At least one message did not arrive; the rest may have.
        """
        for start in range(0, len(payloads), self._max_pending):
            end = start + self._max_pending
            self._send_some(payloads[start:end], keys[start:end], properties[start:end])

    def _send_some(self, payloads: Sequence[bytes], keys: Sequence[str], properties: Sequence[dict[str, str]]) -> None:
        # The client calls back once per message, holding the interpreter's lock. A callback written in Python costs
        # three times as much as the sending itself, so a dictionary's own method records which results occurred.
        results: dict[Any, Any] = {}
        note = results.setdefault
        send = self._producer.send_async
        try:
            for payload, key, props in zip(payloads, keys, properties or repeat(None, len(keys)), strict=True):
                send(payload, note, partition_key=key, properties=props)
        except pulsar.PulsarException as error:
            raise Unavailable(f"broker: {self.topic}: {error}") from error
        self.flush()
        failures = [result for result in results if result != pulsar.Result.Ok]
        if pulsar.Result.MessageTooBig in failures:
            raise self._error_of(pulsar.Result.MessageTooBig)
        if failures:
            raise Unavailable(f"broker: {self.topic}: {', '.join(map(str, failures))}")

    def flush(self) -> None:
        """Wait until the broker has everything.

        Raises
        ------
        TooLarge
            A message is larger than the broker accepts.
        Unavailable
            A message sent since the last flush did not arrive.
        """
        try:
            self._producer.flush()
        except pulsar.PulsarException as error:
            self._raise_failure()
            raise Unavailable(f"broker: {self.topic}: {error}") from error
        self._raise_failure()

    def close(self) -> None:
        self._producer.close()

    def check(self) -> None:
        """Raise what has failed so far, as `flush` does, without waiting for the rest."""
        self._raise_failure()

    def _raise_failure(self) -> None:
        with self._lock:
            failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _error_of(self, result: Any) -> HeadraceError:
        if result == pulsar.Result.MessageTooBig:
            return TooLarge(f"a message for {self.topic}", None, MAX_MESSAGE)
        return Unavailable(f"broker: {self.topic}: {result}")
