"""The interfaces that the handlers need, independent of their implementation."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from headrace.engine.marks import Mark
from headrace.errors import InvalidEvent
from headrace.runtime.redis.decisions import Tally


class Refused(NamedTuple):
    """An event that its stream refuses."""

    stream: str
    event: bytes
    error: InvalidEvent


class Note(NamedTuple):
    """A note between events: a mark, or the end of the stream's history (None)."""

    mark: Mark | None


class Decisions(Protocol):
    """The decisions of partition owners."""

    async def wait(self, call: str, stream: str, events: int) -> Tally:
        """Wait for the decisions on a call's events of a stream; return fewer than `events` if they do not come."""
        ...


class EventLog(Protocol):
    """The destination of events. Each method waits for room; it then returns a future that is done once durable.

    Raises
    ------
    Overloaded
        Too much has been under way for too long. The futures raise `Unavailable` if the broker fails.
    """

    async def write(
        self, stream: str, payloads: Sequence[bytes], keys: Sequence[str], calls: Sequence[str] = ()
    ) -> Future[None]:
        """Append events to a stream, after everything written to it before; each with its call, if any."""
        ...

    async def note(self, stream: str, note: Note) -> Future[None]:
        """Append a mark, or the end of a history, to every partition of a stream."""
        ...

    async def write_refused(self, refusals: Sequence[Refused]) -> Future[None]:
        """Append refused events to the dead letters."""
        ...
