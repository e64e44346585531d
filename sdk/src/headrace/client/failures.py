"""The statuses that services answer with, as headrace's errors; internal.

A status carries only the text of the error that the service raised. Its parts are read back from that text, which has
one form for each kind of error; a text of another form is kept as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import grpc

from headrace.errors import (
    CorruptState,
    DeadlineExceeded,
    HeadraceError,
    Implausible,
    InvalidEvent,
    InvalidRequest,
    NoModelYet,
    Overloaded,
    Unavailable,
    UnknownName,
)
from headrace.runtime.grpc.call_limits import retry_delay
from headrace.v1 import ingest_pb2

#: Trailing metadata with the rejection of a refused `Publish`.
_REJECTION = "headrace-rejection-bin"
#: gRPC's details for an asynchronous call that ends while a request is being sent.
CONNECTION_LOST = "Internal error from Core"
#: Seconds before a retry if the service does not say when.
RETRY_S = 0.1

_EVENT = re.compile(
    r"(?:field (['\"])(?P<field>.*?)\1|the event) is (?P<value>.*?), expected (?P<expected>.*)", re.DOTALL
)
_REQUEST = re.compile(r"(?P<field>.+?) is (?P<value>.*?), expected (?P<expected>.*)", re.DOTALL)
_NO_MODEL = re.compile(r"model '(?P<model>.*?)' has no version yet")
_IMPLAUSIBLE = re.compile(r"model '(?P<model>.*?)': version (?P<examples>\d+) has no answer for this vector: ")
_TOO_LARGE = re.compile(r"message larger than max \((?P<size>\d+) vs\. (?P<limit>\d+)\)")

_CODES = {code.value[0]: code for code in grpc.StatusCode}

_Error = TypeVar("_Error", bound=HeadraceError)


class Peer(NamedTuple):
    """The service that a client calls: its name, as errors show it, and its address."""

    service: str
    address: str

    def __str__(self) -> str:
        return f"{self.service} at {self.address}"


def error_of(error: grpc.RpcError, peer: Peer) -> HeadraceError:
    """Return headrace's error for a call that failed."""
    trailing: Any = error.trailing_metadata() or ()
    trailers: Mapping[str, bytes | str] = dict(trailing)
    if isinstance(data := trailers.get(_REJECTION), bytes):
        return invalid_event(ingest_pb2.Rejection.FromString(data))
    return error_of_status(error.code(), error.details() or "", peer, retry_delay(trailers))


def error_of_code(code: int, message: str, peer: Peer) -> HeadraceError:
    """Return headrace's error for the number of a status, as one request of a batch has it."""
    return error_of_status(_CODES.get(code, grpc.StatusCode.UNKNOWN), message, peer)


def error_of_status(status: grpc.StatusCode, message: str, peer: Peer, retry_s: float | None = None) -> HeadraceError:
    """Return headrace's error for a status and the text of the error that the service raised."""
    match status:
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.NOT_FOUND:
            return _refusal(message, unknown=status is grpc.StatusCode.NOT_FOUND)
        case grpc.StatusCode.FAILED_PRECONDITION:
            return _without_answer(message)
        case grpc.StatusCode.RESOURCE_EXHAUSTED if (match := _TOO_LARGE.search(message)) is not None:
            size, limit = int(match["size"]), int(match["limit"])
            return InvalidRequest("the message", f"of {size:,} bytes", f"at most {limit:,}: send several requests")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Overloaded(f"{peer}: {message}", retry_s or RETRY_S)
        case grpc.StatusCode.CANCELLED:
            # The client cancels no call that it still waits for: gRPC's queue of calls at the server is full (ADR 42).
            return Overloaded(f"{peer} has too many calls waiting: {message}", RETRY_S)
        case grpc.StatusCode.INTERNAL if message == CONNECTION_LOST:
            return Unavailable(f"{peer} does not answer: the connection was lost")
        case grpc.StatusCode.UNAVAILABLE:
            return Unavailable(f"{peer} does not answer: {message}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{peer} does not answer: {message}")
        case grpc.StatusCode.UNIMPLEMENTED:
            return Unavailable(f"{peer} does not offer this call, so it is another service: {message}")
        case grpc.StatusCode.DATA_LOSS:
            return CorruptState(f"{peer}: {message}")
    return HeadraceError(f"{peer}: {status.name}: {message}")


def invalid_event(rejection: ingest_pb2.Rejection) -> InvalidEvent:
    """Return the error of a rejected event."""
    return InvalidEvent(rejection.field, rejection.value, rejection.expected)


def _refusal(message: str, unknown: bool) -> InvalidEvent | InvalidRequest:
    if (match := _EVENT.fullmatch(message)) is not None:
        return _restored(InvalidEvent, message, {**match.groupdict(), "field": match["field"] or ""})
    match = _REQUEST.fullmatch(message)
    parts = match.groupdict() if match else dict.fromkeys(("field", "value", "expected"), "")
    return _restored(UnknownName if unknown else InvalidRequest, message, parts)


def _without_answer(message: str) -> HeadraceError:
    if (match := _NO_MODEL.match(message)) is not None:
        return _restored(NoModelYet, message, match.groupdict())
    if (match := _IMPLAUSIBLE.match(message)) is not None:
        return _restored(Implausible, message, {**match.groupdict(), "examples": int(match["examples"])})
    return HeadraceError(message)


def _restored(kind: type[_Error], message: str, parts: Mapping[str, object]) -> _Error:
    """Return an error with the text that the service gave it."""
    error = kind.__new__(kind)
    Exception.__init__(error, message)
    vars(error).update(parts)
    return error
