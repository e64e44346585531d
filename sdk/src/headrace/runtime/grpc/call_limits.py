"""Bounds on what the calls of a gRPC server may cost, checked before they cost it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError

from headrace.errors import InvalidRequest, Overloaded
from headrace.v1 import retry_pb2

#: The trailer that clients of all languages read `google.rpc.RetryInfo` from.
STATUS_DETAILS = "grpc-status-details-bin"

_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
_RESOURCE_EXHAUSTED = 8
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class CallLimits:
    """The bounds of a server.

    Attributes
    ----------
    calls
        Calls handled at once, including streams and watches; gRPC itself queues further ones.
    pending
        Calls that gRPC queues until they are handled; it refuses all beyond.
    awaited_s
        Seconds after which a call ends whose request has not arrived: it takes one of the places for calls. A quarter
        of them may wait for longer, which is quicker to handle.
    streams, watches
        Streams, and watches of the health check, at once; further ones are refused.
    held, held_bytes
        Single requests under way at once, and the bytes of all requests as received; further ones are refused.
    receiving
        Single requests received at once, each for a few moments; None for any number. A transport takes in a whole
        request before anything can look at its size.
    message_bytes
        The largest request; a transport holds one of each call and of each stream before Python can refuse it.
    fields
        How many fields a request may have, by method: a field of two bytes becomes an object of a hundred.
    """

    calls: int = 1_024
    pending: int = 1_000
    awaited_s: float = 20.0
    streams: int = 256
    watches: int = 64
    held: int = 1_024
    held_bytes: int = 128 * 2**20
    receiving: int | None = None
    message_bytes: int = 16 * 2**20
    fields: Mapping[str, int] = field(default_factory=dict)


USUAL = CallLimits()


class TooManyFields:
    """A placeholder for a request that was not decoded."""

    def __init__(self, limit: int) -> None:
        self.most = limit

    def error(self) -> InvalidRequest:
        """Return the error for the caller."""
        return InvalidRequest("the request", "of too many parts", f"at most {self.most:,}: send several requests")


class Malformed:
    """A placeholder for a request that could not be decoded."""

    def error(self) -> InvalidRequest:
        """Return the error for the caller."""
        return InvalidRequest("the request", "not decodable", "a message of the method, as protos/headrace declares it")


def tolerant(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Return a decoder that returns `Malformed` instead of failing, so that each request reaches its handler.

    A request that does not would keep its place among those that are received, and gRPC would log a traceback.
    """

    def decode_or_mark(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return Malformed()

    return decode_or_mark


def decoding(decode: Callable[[bytes], Any], limit: int) -> Callable[[bytes], Any]:
    """Return a decoder that returns `TooManyFields` instead of a request with more than `limit` fields."""

    def bounded(data: bytes) -> Any:
        # The shortest field has two bytes.
        if len(data) > 2 * limit and has_more_fields(data, limit):
            return TooManyFields(limit)
        return decode(data)

    return bounded


def has_more_fields(data: bytes, limit: int) -> bool:
    """Return whether an encoded message has more than `limit` fields at its top level.

    Input that cannot be read here is left to the decoder.

    Examples
    --------
    >>> has_more_fields(bytes.fromhex("0a00" * 3), 2), has_more_fields(bytes.fromhex("0a00" * 2), 2)
    (True, False)
    """
    at = 0
    for _ in range(limit + 1):
        if at >= len(data):
            return False
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _BYTES:
            length, at = _varint(data, at)
            at += length
        elif kind == _VARINT:
            _, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            return False
    return True


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, at


#: Seconds for which a request that is being received keeps its slot.
_RECEIVED_S = 5.0

#: The share of `held_bytes` that must be free, or a call is refused before its request is received.
_LEAST_ROOM = 1 / 16


def _nothing() -> None:
    pass


class Load:
    """Counts of what is under way at a server."""

    def __init__(self, limits: CallLimits) -> None:
        self._limits = limits
        self._receiving = None if limits.receiving is None else asyncio.Semaphore(limits.receiving)
        self._streams = 0
        self._requests = 0
        self._bytes = 0

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Hold a request of `size` bytes.

        Raises
        ------
        Overloaded
            The server has no room for it.
        """
        self._check(size)
        self._bytes += size
        self._requests += 1
        try:
            yield
        finally:
            self._bytes -= size
            self._requests -= 1

    async def receive(self) -> Callable[[], None]:
        """Wait until another request may be received; return the function to call once it has arrived.

        Raises
        ------
        Overloaded
            The server has no room for it.
        """
        self._check()
        slots = self._receiving
        if slots is None:
            return _nothing
        await slots.acquire()
        try:
            self._check()
        except Overloaded:
            slots.release()
            raise
        pending = [slots]

        def release() -> None:
            if pending:
                pending.pop().release()

        # A caller that sends nothing blocks others for this long only.
        asyncio.get_running_loop().call_later(_RECEIVED_S, release)
        return release

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Hold a stream open.

        Raises
        ------
        Overloaded
            Too many streams are open, or the server has no room for a request.
        """
        self._check()
        if self._streams >= self._limits.streams:
            raise Overloaded(f"{self._streams:,} streams are open, which is as many as may be; close some of them")
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def _check(self, size: float | None = None) -> None:
        least = self._limits.held_bytes * _LEAST_ROOM if size is None else size
        is_full = self._bytes and self._bytes + least > self._limits.held_bytes
        if is_full or self._requests >= self._limits.held:
            raise Overloaded(f"{self._requests:,} requests of {self._bytes:,} bytes are under way; send again later")


def retry_details(message: str, seconds: float) -> bytes:
    """Return the trailer of a call that is refused for now: it says when to send again."""
    delay = duration_pb2.Duration(seconds=int(seconds), nanos=round(seconds % 1 * 1e9))
    info = retry_pb2.RetryDelay(retry_delay=delay).SerializeToString()
    details = [any_pb2.Any(type_url=_RETRY_INFO, value=info)]
    status = retry_pb2.RefusalStatus(code=_RESOURCE_EXHAUSTED, message=message, details=details)
    return status.SerializeToString()


def retry_delay(trailers: Mapping[str, bytes | str]) -> float | None:
    """Return the seconds after which a refused call may be sent again; None if the server does not say."""
    data = trailers.get(STATUS_DETAILS)
    if not isinstance(data, bytes):
        return None
    for detail in retry_pb2.RefusalStatus.FromString(data).details:
        if detail.type_url == _RETRY_INFO:
            delay = retry_pb2.RetryDelay.FromString(detail.value).retry_delay
            return delay.seconds + delay.nanos / 1e9
    return None
