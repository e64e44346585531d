"""The client of the ingest service."""

from __future__ import annotations

import getpass
import os
import queue
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

import grpc
import msgspec

from headrace.errors import HeadraceError, InvalidEvent, InvalidRequest, Overloaded, Unavailable
from headrace.runtime.grpc.call_limits import retry_delay
from headrace.v1 import ingest_pb2, ingest_pb2_grpc
from headrace.wording import microseconds

#: Trailing metadata with the rejection of a refused `Publish`.
_REJECTION = "headrace-rejection-bin"
#: Requests that may wait to be sent; the caller blocks when there are more.
_WAITING = 4
#: Bytes and number of events in one request: the service accepts 16 MiB and 100,000.
_REQUEST_BYTES, _REQUEST_EVENTS = 4 * 2**20, 50_000


@dataclass(frozen=True)
class Rejection:
    """An event that the service rejected; `index` counts its stream's events in this call."""

    stream: str
    index: int
    error: InvalidEvent


class PublishResult(NamedTuple):
    """The outcome of a stream of events.

    Attributes
    ----------
    accepted
        Events that count; without `decide`, all that are durable.
    rejected
        Events that are in the dead letters, including late ones.
    rejections
        The first 100 of the rejected events.
    repeats
        Events whose id had been seen before: they have no effect.
    late
        Events before the watermark of their partition: late, or resent after their id was forgotten.
    undecided
        Events that are durable but not decided on yet: the feature service does not answer.
    """

    accepted: int
    rejected: int
    rejections: tuple[Rejection, ...]
    repeats: int = 0
    late: int = 0
    undecided: int = 0


class IngestClient:
    """A client that publishes events through an ingest service.

    Parameters
    ----------
    address
        ``host:port`` of its gRPC server.
    timeout_s
        Seconds that the publication of a single event may take.
    sender
        The sender of marks, as status and log show it; by default user and host.

    Examples
    --------
    ::

        with IngestClient("127.0.0.1:8000") as client:
            client.publish("departed", {"flight": "UA1", "at": "2013-01-01T10:00:00Z", "tail": "N1"})
    """

    def __init__(self, address: str, timeout_s: float = 60.0, sender: str | None = None) -> None:
        self._address = address
        self._sender = sender_name("client") if sender is None else sender
        self._timeout_s = timeout_s
        self._channel = grpc.insecure_channel(
            address, options=[("grpc.max_send_message_length", -1), ("grpc.keepalive_time_ms", 60_000)]
        )
        self._stub = ingest_pb2_grpc.IngestServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def publish(self, stream: str, event: bytes | Mapping[str, Any]) -> None:
        """Publish one event; return once the broker has it durably.

        Raises
        ------
        InvalidEvent
            The event does not fit its stream.
        Unavailable
            The service or its broker does not answer; publishing the event again does no harm.
        """
        request = ingest_pb2.PublishRequest(stream=stream, event=_encode(event))
        with self._errors():
            self._stub.Publish(request, timeout=self._timeout_s)

    def publish_stream(
        self, stream: str, events: Iterable[bytes | Mapping[str, Any]], batch: int = 1_000, *, decide: bool = False
    ) -> PublishResult:
        """Publish any number of events of one stream, in order; return once all of them are durable.

        Invalid events are rejected, and do not stop the others.

        Parameters
        ----------
        batch
            Events in one message.
        decide
            Wait until the owners of the partitions have decided: then late events and repeats are known as well.

        Raises
        ------
        Unavailable
            The service or its broker does not answer. Some events may have been accepted: publish all of them again,
            and those will count once.
        """
        with self.stream(decide=decide) as open_stream:
            run: list[bytes] = []
            for event in events:
                run.append(_encode(event))
                if len(run) == batch:
                    open_stream.send(stream, run)
                    run = []
            open_stream.send(stream, run)
            return open_stream.finish()

    def mark(self, stream: str, until: int | datetime, *, confirm: bool = False) -> None:
        """State that no event of a stream before a time follows, from any producer: one that does is late.

        A mark moves the stream's watermark as an event does: questions whose bound lies before it expire.

        Parameters
        ----------
        until
            A datetime (UTC if it has no zone), or microseconds since the epoch.
        confirm
            Allow it to decide more questions at once than the stream's `confirm_above`.

        Raises
        ------
        InvalidRequest
            It is later than the stream's `ahead` allows, or the stream accepts no marks from this sender.
        Unavailable
            The service or its broker does not answer.
        """
        with self.stream() as open_stream:
            open_stream.send(stream, (), mark=_microseconds(until), confirm=confirm)
            open_stream.finish()

    def withdraw_marks(self, stream: str, until: int | datetime | None = None) -> None:
        """Withdraw all marks of a stream that are later than a time; by default, all of its marks.

        Events between that time and the marks count again. Questions that a mark has expired stay expired.

        Raises
        ------
        InvalidRequest, Unavailable
            As in `mark`.
        """
        with self.stream() as open_stream:
            open_stream.send(stream, (), mark=0 if until is None else _microseconds(until), withdraw=True)
            open_stream.finish()

    def stream(self, *, decide: bool = False) -> EventStream:
        """Open a stream to send events of any streams, interleaved; `decide` as in `publish_stream`."""
        return EventStream(self._stub, self._errors, decide, self._sender)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise _error_of(error, self._address) from error


class EventStream:
    """One call that sends many events. `send` blocks while the service is not ready for more."""

    def __init__(
        self, stub: ingest_pb2_grpc.IngestServiceStub, errors: Any, decide: bool = False, sender: str = ""
    ) -> None:
        self._sender = sender
        self._errors = errors
        self._decide = decide
        self._requests: queue.Queue[ingest_pb2.PublishStreamRequest | None] = queue.Queue(_WAITING)
        self._call = stub.PublishStream.future(iter(self._requests.get, None))

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
        runs = list(_runs(events))
        for run in runs[:-1]:
            self._put(ingest_pb2.PublishStreamRequest(stream=stream, events=run, decide=self._decide))
        if runs or mark or end or withdraw:
            request = ingest_pb2.PublishStreamRequest(
                stream=stream, events=runs[-1] if runs else (), mark=mark, end=end, decide=self._decide
            )
            if mark or withdraw:
                request.sender, request.confirm, request.withdraw = self._sender, confirm, withdraw
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
            response = self._call.result()
        rejections = tuple(
            Rejection(rejection.stream, rejection.index, _invalid(rejection)) for rejection in response.rejections
        )
        return PublishResult(
            response.accepted,
            response.rejected,
            rejections,
            response.repeats,
            response.late,
            response.undecided,
        )

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


def sender_name(kind: str) -> str:
    """Return the name of the sender of marks from this process."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may have no name for its user
        user = str(os.getuid())
    return f"{kind}:{user}@{socket.gethostname()}"


def _microseconds(until: int | datetime) -> int:
    return until if isinstance(until, int) else microseconds(until)


def _encode(event: bytes | Mapping[str, Any]) -> bytes:
    return event if isinstance(event, bytes) else msgspec.json.encode(event)


def _runs(events: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Split the events into requests of a bounded size."""
    start = size = 0
    for index, event in enumerate(events):
        if size and (size + len(event) > _REQUEST_BYTES or index - start >= _REQUEST_EVENTS):
            yield events[start:index]
            start, size = index, 0
        size += len(event)
    if start < len(events):
        yield events[start:]


def _invalid(rejection: ingest_pb2.Rejection) -> InvalidEvent:
    return InvalidEvent(rejection.field, rejection.value, rejection.expected)


def _error_of(error: grpc.RpcError, address: str) -> HeadraceError:
    """Return headrace's own error for a gRPC status."""
    status, details = error.code(), error.details() or ""
    trailing: Any = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == _REJECTION:
            return _invalid(ingest_pb2.Rejection.FromString(value))
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return Overloaded(f"ingest at {address}: {details}", retry_delay(dict(trailing)) or 1.0)
    if status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
        return Unavailable(f"ingest at {address} does not answer: {details}")
    if status in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
        return _Refused(details)
    return HeadraceError(f"ingest at {address}: {status.name}: {details}")


class _Refused(InvalidRequest):
    """A request that the service refused, with the service's message."""

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)
        self.field, self.value, self.expected = "", "", ""
