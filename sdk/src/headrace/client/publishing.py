"""Requests and results of the clients of ingest, and the messages that carry them."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from headrace.client import arguments
from headrace.client.events import runs
from headrace.client.failures import invalid_event
from headrace.errors import InvalidEvent
from headrace.v1 import ingest_pb2

#: Events in one request: the service accepts 100,000.
_REQUEST_EVENTS = 50_000


@dataclass(frozen=True, slots=True)
class Rejection:
    """An event that the service rejected; `index` counts its stream's events in this call."""

    stream: str
    index: int
    error: InvalidEvent


@dataclass(frozen=True, slots=True)
class PublishResult:
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


@dataclass(frozen=True, slots=True)
class Note:
    """A mark or an end, sent after the events of a stream: see `EventStream.send`."""

    mark: int = 0
    end: bool = False
    confirm: bool = False
    withdraw: bool = False


def requests_of(
    stream: str, events: Sequence[bytes], note: Note, *, decide: bool, sender: str
) -> Iterator[ingest_pb2.PublishStreamRequest]:
    """Yield the messages that carry events of one stream; the last one carries the note as well."""
    parts = list(runs(map(len, events), _REQUEST_EVENTS))
    for part in parts[:-1]:
        yield ingest_pb2.PublishStreamRequest(stream=stream, events=events[part], decide=decide)
    if parts or note.mark or note.end or note.withdraw:
        request = ingest_pb2.PublishStreamRequest(
            stream=stream, events=events[parts[-1]] if parts else (), mark=note.mark, end=note.end, decide=decide
        )
        if note.mark or note.withdraw:
            request.sender, request.confirm, request.withdraw = sender, note.confirm, note.withdraw
        yield request


def mark_of(until: int | datetime | None) -> int:
    """Return the time of a mark (µs since the epoch); 0 for none."""
    return 0 if until is None else arguments.moment("until", until)


def result_of(response: ingest_pb2.PublishStreamResponse) -> PublishResult:
    """Return the outcome in a message."""
    return PublishResult(
        accepted=response.accepted,
        rejected=response.rejected,
        rejections=tuple(
            Rejection(rejection.stream, rejection.index, invalid_event(rejection)) for rejection in response.rejections
        ),
        repeats=response.repeats,
        late=response.late,
        undecided=response.undecided,
    )


def sender_name(kind: str) -> str:
    """Return the name of the sender of marks from this process."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may have no name for its user
        user = str(os.getuid())
    return f"{kind}:{user}@{socket.gethostname()}"
