"""An event log in memory, which can be slow, full or broken."""

from __future__ import annotations

import asyncio
import json
from asyncio import Future
from collections.abc import Sequence

from headrace.errors import Overloaded, Unavailable
from headrace.runtime.redis.decisions import Tally
from headrace_ingest.ports import Note, Refused


class FakeDecisions:
    """Decisions that report a given tally for each stream."""

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}
        self.asked: list[tuple[str, str, int]] = []

    async def wait(self, call: str, stream: str, events: int) -> Tally:
        self.asked.append((call, stream, events))
        return self.tallies.get(stream, Tally())


class FakeLog:
    """A log that records what it gets. While `holding`, nothing is durable before `release` or `fail`."""

    def __init__(self) -> None:
        self.written: list[tuple[str, object]] = []
        self.letters: list[Refused] = []
        self.calls: list[str] = []
        self.full = False
        self.holding = False
        self._held: list[Future[None]] = []

    async def write(
        self, stream: str, payloads: Sequence[bytes], keys: Sequence[str], calls: Sequence[str] = ()
    ) -> Future[None]:
        self.calls += calls
        return self._put([(stream, json.loads(payload)["id"]) for payload in payloads])

    async def note(self, stream: str, note: Note) -> Future[None]:
        return self._put([(stream, note)])

    async def write_refused(self, refused: Sequence[Refused]) -> Future[None]:
        self.letters += refused
        return self._put([])

    def release(self) -> None:
        """Make everything durable."""
        for future in self._held:
            future.set_result(None)
        self._held = []

    def fail(self) -> None:
        """Fail as if the broker were gone."""
        for future in self._held:
            future.set_exception(Unavailable("broker: gone"))
        self._held = []

    def _put(self, entries: list[tuple[str, object]]) -> Future[None]:
        if self.full:
            raise Overloaded("stream is full")
        self.written += entries
        done: Future[None] = asyncio.get_running_loop().create_future()
        self._held.append(done)
        if not self.holding:
            self.release()
        return done
