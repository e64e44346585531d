"""Taking events: judged, written to their streams, the refused ones to the dead letters. Knows no transport."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from headrace.errors import InvalidEvent, InvalidRequest, UnknownName
from headrace_ingest.admission import Admission
from headrace_ingest.ports import EventLog, Refused

#: Events judged in one go: between two runs of them the other callers get their turn.
_RUN = 1_000
#: The way to the dead letters; no stream is named so.
_DEAD_LETTERS = ""
#: Rejections that an answer names.
MAX_REJECTIONS = 100


class Batch(NamedTuple):
    """Events of one stream, and the frontier it may move to behind them (0: none)."""

    stream: str
    events: Sequence[bytes]
    frontier: int = 0


@dataclass(frozen=True)
class Rejection:
    """The index counts the events of its stream in this call."""

    stream: str
    index: int
    error: InvalidEvent


class Summary(NamedTuple):
    """What became of a call's events; the first rejections only."""

    accepted: int
    rejected: int
    rejections: list[Rejection]


class Ingest:
    """Takes events for the streams of a loop.

    Parameters
    ----------
    admissions
        By stream.
    count
        Adds to a counter of the service's status.
    """

    def __init__(self, admissions: Mapping[str, Admission], log: EventLog, count: Callable[[str, int], None]) -> None:
        self._admissions = admissions
        self._log = log
        self._count = count

    async def publish(self, stream: str, event: bytes) -> None:
        """Take one event; returns once it is durable.

        Raises
        ------
        UnknownName
            The loop has no such stream.
        InvalidEvent
            The event does not fit its stream; it stands in the dead letters.
        Unavailable
            The broker did not take it in time; sending it again does no harm.
        """
        call = _Call(self)
        await call.take(Batch(stream, [event]))
        summary = await call.finish()
        if summary.rejections:
            raise summary.rejections[0].error

    async def publish_stream(self, batches: AsyncIterator[Batch]) -> Summary:
        """Take batches, of any streams, in order; returns once all of them are durable.

        Raises
        ------
        UnknownName, Unavailable
            As `publish`. Batches before may have been taken: send all of them again.
        """
        call = _Call(self)
        async for batch in batches:
            await call.take(batch)
        return await call.finish()

    def admission(self, stream: str) -> Admission:
        """What judges a stream's events."""
        if stream not in self._admissions:
            raise UnknownName("stream", stream, tuple(self._admissions))
        return self._admissions[stream]

    async def write(
        self, stream: str, events: Sequence[bytes]
    ) -> tuple[list[tuple[str, Future[None]]], list[tuple[int, InvalidEvent]]]:
        """Judge a run of events and start writing it: what is under way on which way, and what was refused."""
        payloads, keys, refused = self.admission(stream).admit(events)
        under_way: list[tuple[str, Future[None]]] = []
        if payloads:
            written = await self._write(stream, payloads, keys)
            written.add_done_callback(lambda future: self._forget_lost(stream, future))
            self._count_once(written, {"accepted": len(payloads), f"accepted:{stream}": len(payloads)})
            under_way.append((stream, written))
        if refused:
            buried = await self._log.bury([Refused(stream, events[index], error) for index, error in refused])
            counts = dict.fromkeys(("rejected", f"rejected:{stream}", "dead_letters"), len(refused))
            self._count_once(buried, counts)
            under_way.append((_DEAD_LETTERS, buried))
        return under_way, refused

    async def mark(self, stream: str, frontier: int) -> Future[None]:
        """Start writing a frontier marker."""
        return await self._log.mark(stream, frontier)

    async def _write(self, stream: str, payloads: Sequence[bytes], keys: Sequence[str]) -> Future[None]:
        try:
            return await self._log.write(stream, payloads, keys)
        except BaseException:  # also a caller who goes away while waiting
            self.admission(stream).forget()
            raise

    def _forget_lost(self, stream: str, written: Future[None]) -> None:
        if written.cancelled() or written.exception() is not None:
            self.admission(stream).forget()

    def _count_once(self, durable: Future[None], counts: Mapping[str, int]) -> None:
        def tell(future: Future[None]) -> None:
            if not future.cancelled() and future.exception() is None:
                for name, by in counts.items():
                    self._count(name, by)

        durable.add_done_callback(tell)


class _Call:
    """One caller's events: how many there were of each stream, and what is not durable yet."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._taken: dict[str, int] = {}
        self._rejected = 0
        self._rejections: list[Rejection] = []
        # By way, since each settles in its own order.
        self._under_way: defaultdict[str, deque[Future[None]]] = defaultdict(deque)

    async def take(self, batch: Batch) -> None:
        self._ingest.admission(batch.stream)
        if batch.frontier < 0:
            raise InvalidRequest("frontier", str(batch.frontier), "microseconds since the epoch, or 0 for none")
        for start in range(0, len(batch.events), _RUN):
            self._settle()
            await self._take_run(batch.stream, batch.events[start : start + _RUN])
            await asyncio.sleep(0)
        if batch.frontier:
            self._settle()
            self._under_way[batch.stream].append(await self._ingest.mark(batch.stream, batch.frontier))

    async def _take_run(self, stream: str, events: Sequence[bytes]) -> None:
        before = self._taken.get(stream, 0)
        self._taken[stream] = before + len(events)
        under_way, refused = await self._ingest.write(stream, events)
        for way, future in under_way:
            self._under_way[way].append(future)
        self._rejected += len(refused)
        room = MAX_REJECTIONS - len(self._rejections)
        self._rejections += [Rejection(stream, before + index, error) for index, error in refused[:room]]

    def _settle(self) -> None:
        """Let go of what is durable, and raise what failed before anything is put behind it."""
        for futures in self._under_way.values():
            while futures and futures[0].done():
                futures.popleft().result()

    async def finish(self) -> Summary:
        for futures in self._under_way.values():
            for future in futures:
                await future
        return Summary(sum(self._taken.values()) - self._rejected, self._rejected, self._rejections)
