"""What the handlers need from outside, and nothing of how it is done."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from headrace.errors import InvalidEvent


class Refused(NamedTuple):
    """An event that its stream does not take."""

    stream: str
    event: bytes
    error: InvalidEvent


class EventLog(Protocol):
    """Where events go. Each method waits while too much is under way, then returns a future: done once durable.

    Raises
    ------
    Overloaded
        Too much is under way for too long. The futures raise `Unavailable` when the broker fails.
    """

    async def write(self, stream: str, payloads: Sequence[bytes], keys: Sequence[str]) -> Future[None]:
        """Append events to a stream, behind all that was written to it before."""
        ...

    async def mark(self, stream: str, frontier: int) -> Future[None]:
        """Append a frontier marker to every partition of a stream."""
        ...

    async def bury(self, refused: Sequence[Refused]) -> Future[None]:
        """Append refused events to the dead letters."""
        ...
