"""The clients of the ingest service."""

from __future__ import annotations

import asyncio
import contextlib
import math
import queue
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from functools import cached_property, partial
from types import TracebackType
from typing import Any, Self

import grpc

from headrace.client import arguments
from headrace.client.attempts import CallRules
from headrace.client.channels import AsyncConnection, Connection, StreamEnd
from headrace.client.events import Event, StreamLike, encode, name_of
from headrace.client.failures import Peer
from headrace.client.gathering import AsyncGathering, Gathering
from headrace.client.publishing import Note, PublishResult, mark_of, requests_of, result_of, sender_name
from headrace.v1 import ingest_pb2, ingest_pb2_grpc

#: Requests that may wait to be sent; the caller blocks when there are more.
_WAITING = 4


class IngestClient:
    """A client that publishes events through an ingest service. Threads may share it; it keeps one connection.

    A call is retried with growing pauses if the service is busy or does not answer. Retries are safe: an event counts
    once, by its id, however often it is sent.

    Parameters
    ----------
    address
        ``host:port`` of its gRPC server.
    timeout
        Seconds that the publication of an event, or a mark, may take, including its retries.
    retries
        Maximum number of retries of a call.
    concurrency
        Maximum number of concurrent calls for single events and marks; further ones wait.
    sender
        The sender of marks, as status and log show it; by default user and host.

    Examples
    --------
        with IngestClient("127.0.0.1:8000") as client:
            client.publish("departed", {"flight": "UA1", "at": "2013-01-01T10:00:00Z", "tail": "N1"})
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 60.0,
        retries: int = 4,
        concurrency: int = 64,
        sender: str | None = None,
    ) -> None:
        self._sender = sender_name("client") if sender is None else sender
        self._connection = Connection(CallRules(Peer("ingest", address), timeout, retries, concurrency))
        self._stub: Any = ingest_pb2_grpc.IngestServiceStub(self._connection.channel)  # type: ignore[no-untyped-call]

    def publish(self, stream: StreamLike, event: Event, *, timeout: float | None = None) -> None:
        """Publish one event; return once the broker has it durably.

        Parameters
        ----------
        stream
            Its name, or its class.
        event
            A record of the stream, its fields, or a JSON object.
        timeout
            Seconds for this call; by default those of the client.

        Raises
        ------
        InvalidEvent
            The event does not fit its stream.
        UnknownName
            The loop has no such stream.
        Unavailable
            The service or its broker does not answer; publishing the event again does no harm.
        """
        request = ingest_pb2.PublishRequest(stream=name_of(stream), event=encode(event))
        self._connection.call(self._stub.Publish, request, timeout)

    def publish_stream(
        self,
        stream: StreamLike,
        events: Iterable[Event],
        batch: int = 1_000,
        *,
        decide: bool = False,
        timeout: float = math.inf,
    ) -> PublishResult:
        """Publish any number of events of one stream, in order; return once all of them are durable.

        Invalid events are rejected, and do not stop the others.

        Parameters
        ----------
        events
            A sequence is published again as a whole if the service does not answer; with `decide` the result then
            counts the events that had been accepted as repeats. Any other iterable is read once, so it is not.
        batch
            Events in one message, at most. An event waits 5 ms for others to be sent with it, so that `events` may be a
            live source.
        decide
            Wait until the owners of the partitions have decided: then late events and repeats are known as well.
        timeout
            Seconds for the whole call; by default as many as it needs.

        Raises
        ------
        Unavailable
            The service or its broker does not answer. Some events may have been accepted: publish all of them again,
            and those will count once.
        """
        _check_events(events, batch)

        def publish_all(timeout_s: float | None) -> PublishResult:
            with self.stream(decide=decide, timeout=timeout_s) as open_stream:
                send = partial(open_stream.send, name_of(stream))
                with Gathering(send, batch) as gathering:
                    for event in events:
                        gathering.add(encode(event))
                return open_stream.finish()

        if isinstance(events, Sequence):
            return self._connection.retry(publish_all, timeout)
        return publish_all(None if timeout == math.inf else timeout)

    def mark(self, stream: str, until: int | datetime, *, confirm: bool = False, timeout: float | None = None) -> None:
        """State that no event of a stream before a time follows, from any producer: one that does is late.

        A mark moves the stream's watermark as an event does: questions whose bound lies before it expire.

        Parameters
        ----------
        until
            A datetime (UTC if it has no zone), or microseconds since the epoch.
        confirm
            Allow it to decide more questions at once than the stream's `confirm_above`.
        timeout
            Seconds for this call; by default those of the client.

        Raises
        ------
        InvalidRequest
            It is later than the stream's `ahead` allows, or the stream accepts no marks from this sender.
        Unavailable
            The service or its broker does not answer.
        """
        self._send(stream, Note(arguments.moment("until", until), confirm=confirm), timeout)

    def withdraw_marks(self, stream: str, until: int | datetime | None = None, *, timeout: float | None = None) -> None:
        """Withdraw all marks of a stream that are later than a time; by default, all of its marks.

        Events between that time and the marks count again. Questions that a mark has expired stay expired.

        Raises
        ------
        InvalidRequest, Unavailable
            As in `mark`.
        """
        self._send(stream, Note(mark_of(until), withdraw=True), timeout)

    def stream(self, *, decide: bool = False, timeout: float | None = None) -> EventStream:
        """Open a stream to send events of any streams, interleaved; `decide` as in `publish_stream`.

        It is not retried if it fails: only the caller knows what was sent.

        Parameters
        ----------
        timeout
            Seconds until its end; by default as many as it needs.
        """
        return EventStream(self._stub, self._connection.errors, decide=decide, sender=self._sender, timeout=timeout)

    def close(self) -> None:
        """End the calls under way, and close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _send(self, stream: str, note: Note, timeout: float | None) -> None:
        requests = [*requests_of(name_of(stream), (), note, decide=False, sender=self._sender)]

        def publish(requests: list[ingest_pb2.PublishStreamRequest], timeout: float | None) -> Any:
            return self._stub.PublishStream(iter(requests), timeout=timeout)

        self._connection.call(publish, requests, timeout)


class EventStream:
    """One call that sends many events. `send` blocks while the service is not ready for more."""

    def __init__(
        self,
        stub: Any,
        errors: Callable[[], AbstractContextManager[None]],
        *,
        decide: bool = False,
        sender: str = "",
        timeout: float | None = None,
    ) -> None:
        self._sender = sender
        self._errors = errors
        self._decide = decide
        if timeout is not None:
            arguments.time_limit("timeout", timeout)
        self._requests: queue.Queue[ingest_pb2.PublishStreamRequest | None] = queue.Queue(_WAITING)
        with errors():
            self._call = stub.PublishStream.future(iter(self._requests.get, None), timeout=timeout)

    def send(
        self,
        stream: str,
        events: Sequence[bytes],
        *,
        mark: int = 0,
        end: bool = False,
        confirm: bool = False,
        withdraw: bool = False,
    ) -> None:
        """Send events.

        Parameters
        ----------
        mark
            No event of the stream before this time (µs) follows, from any producer; 0 for no mark.
        end
            The stream's history ends here, so the loop need not wait for more. More events may still follow.
        confirm, withdraw
            See `IngestClient.mark` and `IngestClient.withdraw_marks`.

        Raises
        ------
        HeadraceError
            The call has ended; the error is `Unavailable` if the service is gone.
        """
        note = Note(mark, end, confirm, withdraw)
        for request in requests_of(stream, events, note, decide=self._decide, sender=self._sender):
            self._put(request)

    def check(self) -> None:
        """Check that the call has not ended.

        Raises
        ------
        HeadraceError
            As in `send`.
        """
        if self._call.done():
            self._raise_ended()

    def finish(self) -> PublishResult:
        """End the stream of events; return once all are durable.

        Raises
        ------
        HeadraceError
            As in `send`.
        """
        self._put(None)
        with self._errors():
            return result_of(self._call.result())

    def cancel(self) -> None:
        """Cancel the call; what was sent may have been accepted."""
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._call.done():
            self.cancel()

    def _put(self, request: ingest_pb2.PublishStreamRequest | None) -> None:
        while True:
            try:
                self._requests.put(request, timeout=0.2)
            except queue.Full:
                if not self._call.done():
                    continue
            else:
                if not self._call.done():
                    return
            self._raise_ended()
            return

    def _raise_ended(self) -> None:
        with self._errors():
            self._call.result()


class AsyncIngestClient:
    """A client that publishes events for asyncio; parameters and errors are those of `IngestClient`.

    It belongs to the event loop in which it is first used.

    Examples
    --------
        async with AsyncIngestClient("127.0.0.1:8000") as client:
            await client.publish("departed", {"flight": "UA1", "at": "2013-01-01T10:00:00Z", "tail": "N1"})
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 60.0,
        retries: int = 4,
        concurrency: int = 64,
        sender: str | None = None,
    ) -> None:
        self._sender = sender_name("client") if sender is None else sender
        self._connection = AsyncConnection(CallRules(Peer("ingest", address), timeout, retries, concurrency))

    @cached_property
    def _stub(self) -> Any:
        return ingest_pb2_grpc.IngestServiceStub(self._connection.channel)  # type: ignore[no-untyped-call]

    async def publish(self, stream: StreamLike, event: Event, *, timeout: float | None = None) -> None:
        """Publish one event: see `IngestClient.publish`."""
        request = ingest_pb2.PublishRequest(stream=name_of(stream), event=encode(event))
        await self._connection.call(self._stub.Publish, request, timeout)

    async def publish_stream(
        self,
        stream: StreamLike,
        events: AsyncIterable[Event] | Iterable[Event],
        batch: int = 1_000,
        *,
        decide: bool = False,
        timeout: float = math.inf,
    ) -> PublishResult:
        """Publish any number of events of one stream, in order: see `IngestClient.publish_stream`."""
        _check_events(events, batch)

        async def publish_all(timeout_s: float | None) -> PublishResult:
            async with self.stream(decide=decide, timeout=timeout_s) as open_stream:
                async with AsyncGathering(partial(open_stream.send, name_of(stream)), batch) as gathering:
                    async for event in _each(events):
                        await gathering.add(encode(event))
                return await open_stream.finish()

        if isinstance(events, Sequence):
            return await self._connection.retry(publish_all, timeout)
        return await publish_all(None if timeout == math.inf else timeout)

    async def mark(
        self, stream: str, until: int | datetime, *, confirm: bool = False, timeout: float | None = None
    ) -> None:
        """State that no event of a stream before a time follows: see `IngestClient.mark`."""
        await self._send(stream, Note(arguments.moment("until", until), confirm=confirm), timeout)

    async def withdraw_marks(
        self, stream: str, until: int | datetime | None = None, *, timeout: float | None = None
    ) -> None:
        """Withdraw marks of a stream: see `IngestClient.withdraw_marks`."""
        await self._send(stream, Note(mark_of(until), withdraw=True), timeout)

    def stream(self, *, decide: bool = False, timeout: float | None = None) -> AsyncEventStream:
        """Open a stream to send events of any streams, interleaved: see `IngestClient.stream`."""
        return AsyncEventStream(
            self._stub, self._connection.errors, decide=decide, sender=self._sender, timeout=timeout
        )

    async def close(self) -> None:
        """End the calls under way, and close the connection."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, stream: str, note: Note, timeout: float | None) -> None:
        requests = [*requests_of(name_of(stream), (), note, decide=False, sender=self._sender)]
        await self._connection.call(self._stub.PublishStream, requests, timeout)


class AsyncEventStream:
    """One call that sends many events, for asyncio. `send` waits while the service is not ready for more."""

    def __init__(
        self,
        stub: Any,
        errors: Callable[[], AbstractContextManager[None]],
        *,
        decide: bool = False,
        sender: str = "",
        timeout: float | None = None,
    ) -> None:
        self._sender = sender
        self._errors = errors
        self._decide = decide
        if timeout is not None:
            arguments.time_limit("timeout", timeout)
        with errors():
            self._call = stub.PublishStream(timeout=timeout)
        self._end = StreamEnd(self._call)

    async def send(
        self,
        stream: str,
        events: Sequence[bytes],
        *,
        mark: int = 0,
        end: bool = False,
        confirm: bool = False,
        withdraw: bool = False,
    ) -> None:
        """Send events: see `EventStream.send`."""
        note = Note(mark, end, confirm, withdraw)
        for request in requests_of(stream, events, note, decide=self._decide, sender=self._sender):
            try:
                await self._call.write(request)
            except (grpc.RpcError, asyncio.InvalidStateError):
                await self._raise_ended()

    async def finish(self) -> PublishResult:
        """End the stream of events; return once all are durable: see `EventStream.finish`."""
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):  # the answer says why the call has ended
            await self._call.done_writing()
        with self._errors():
            async with self._end.status():
                return result_of(await self._call)

    def cancel(self) -> None:
        """Cancel the call; what was sent may have been accepted."""
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if not self._call.done():
            self.cancel()

    async def _raise_ended(self) -> None:
        with self._errors():
            async with self._end.status():
                await self._call


def _check_events(events: object, batch: int) -> None:
    arguments.check_many("events", events, "several events, as a list or another iterable")
    arguments.whole_number("batch", batch, 1)


async def _each(events: AsyncIterable[Event] | Iterable[Event]) -> AsyncIterator[Event]:
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield event
    else:
        for event in events:
            yield event
