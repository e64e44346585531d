"""Calls to the services of a running loop over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from headrace.cli.failures import Refused

if TYPE_CHECKING:
    import grpc

#: Seconds after which a call has failed.
DEADLINE_S = 30.0

_CODES = {
    "UNAVAILABLE": 3,
    "DEADLINE_EXCEEDED": 3,
    "RESOURCE_EXHAUSTED": 3,
    "UNIMPLEMENTED": 3,
    "INVALID_ARGUMENT": 4,
    "NOT_FOUND": 4,
    "FAILED_PRECONDITION": 5,
}


@contextmanager
def calling(service: str, address: str) -> Iterator[grpc.Channel]:
    """Open a channel to a service.

    Raises
    ------
    Refused
        The service refused the call or did not answer; the error has the matching exit code.
    """
    import grpc

    try:
        with grpc.insecure_channel(address) as channel:
            yield channel
    except grpc.RpcError as error:
        status = error.code().name
        message = error.details() or status
        if status in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            message = f"the {service} at {address} does not answer: {message}"
        raise Refused(message, _CODES.get(status, 1)) from error
