"""Accepting events: judge them, write them to their streams, dead-letter the refused ones. Knows no transport."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

from headrace.engine.marks import Mark
from headrace.errors import InvalidEvent, InvalidRequest, UnknownName
from headrace.runtime.redis.decisions import Tally
from headrace_ingest.admission import Admission
from headrace_ingest.ports import Decisions, EventLog, Note, Refused

#: Number of events to validate at a time: between two such runs, other calls proceed.
_RUN = 1_000
#: The key of dead letters in `_Call._under_way`; no stream has this name.
_DEAD_LETTERS = ""
#: Maximum number of rejections in a response.
MAX_REJECTIONS = 100


class EventBatch(NamedTuple):
    """Events of one stream, with a mark or the end of its history after them.

    Attributes
    ----------
    mark
        A mark on the whole stream; None if there is none.
    end
        Whether the stream's history ends here.
    decide
        Whether the answer must wait for the decisions on the events; the first batch of a call sets this for all.
    """

    stream: str
    events: Sequence[bytes]
    mark: Mark | None = None
    end: bool = False
    decide: bool = False


@dataclass(frozen=True)
class Rejection:
    """A refused event; the index counts the events of its stream in this call."""

    stream: str
    index: int
    error: InvalidEvent


class Summary(NamedTuple):
    """The outcome of a call's events, with the first rejections only. Late events are among the rejected."""

    accepted: int
    rejected: int
    rejections: list[Rejection]
    repeats: int = 0
    late: int = 0
    undecided: int = 0


class Written(NamedTuple):
    """A run of events: the writes under way, and the refused events by index."""

    under_way: list[tuple[str, Future[None]]]
    refused: list[tuple[int, InvalidEvent]]


class Ingest:
    """Acceptance of events into the streams of a loop.

    Parameters
    ----------
    admissions
        One for each stream.
    count
        Adds to a counter of the service's status.
    """

    def __init__(
        self,
        admissions: Mapping[str, Admission],
        log: EventLog,
        decisions: Decisions,
        count: Callable[[str, int], None],
    ) -> None:
        self._admissions = admissions
        self._log = log
        self._decisions = decisions
        self._count = count

    async def publish(self, stream: str, event: bytes) -> None:
        """Accept one event; return once it is durable.

        Raises
        ------
        UnknownName
            The loop has no such stream.
        InvalidEvent
            The event does not fit its stream; it is in the dead letters.
        Unavailable
            The broker did not take it in time; sending it again does no harm.
        """
        call = _Call(self)
        await call.take(EventBatch(stream, [event]))
        summary = await call.finish()
        if summary.rejections:
            raise summary.rejections[0].error

    async def publish_stream(self, batches: AsyncIterator[EventBatch]) -> Summary:
        """Accept batches of any streams, in order; return once all are durable, and decided on if asked for.

        Raises
        ------
        UnknownName, Unavailable
            As in `publish`. Earlier batches may have been accepted: send all of them again.
        """
        call = _Call(self)
        async for batch in batches:
            await call.take(batch)
        return await call.finish()

    def admission(self, stream: str) -> Admission:
        """Return the admission of a stream's events."""
        if stream not in self._admissions:
            raise UnknownName("stream", stream, tuple(self._admissions))
        return self._admissions[stream]

    async def write(self, stream: str, events: Sequence[bytes], call: str = "", first: int = 0) -> Written:
        """Judge a run of events and start writing it.

        Parameters
        ----------
        call
            The call that waits for the decisions on them; empty if none does.
        first
            The index of the first of them among the call's events of this stream.
        """
        admitted = self.admission(stream).admit(events)
        under_way: list[tuple[str, Future[None]]] = []
        if admitted.payloads:
            calls = [f"{call}:{first + place}" for place in admitted.places] if call else ()
            event_future = await self._log.write(stream, admitted.payloads, admitted.keys, calls)
            counts = {"accepted": len(admitted.payloads), f"accepted:{stream}": len(admitted.payloads)}
            self._count_once(event_future, counts)
            under_way.append((stream, event_future))
        refusals = admitted.refused
        if refusals:
            dead_letter_future = await self._log.write_refused(
                [Refused(stream, events[index], error) for index, error in refusals]
            )
            self._count_once(
                dead_letter_future, dict.fromkeys(("rejected", f"rejected:{stream}", "dead_letters"), len(refusals))
            )
            under_way.append((_DEAD_LETTERS, dead_letter_future))
        return Written(under_way, refusals)

    def check_mark(self, stream: str, mark: Mark) -> None:
        """Raise an error for a mark that the readers of the stream would refuse.

        Raises
        ------
        InvalidRequest
            The mark is negative or not allowed; the error says who may send which mark.
        """
        if mark.time is not None and mark.time < 0:
            raise InvalidRequest("mark", str(mark.time), "microseconds since the epoch, or 0 for none")
        reason = self.admission(stream).refusal_of(mark)
        if reason is not None:
            raise InvalidRequest("mark", reason.value, reason.expected)

    async def note(self, stream: str, note: Note) -> Future[None]:
        """Start writing a mark, or the end of a history."""
        return await self._log.note(stream, note)

    async def decided(self, call: str, stream: str, events: int) -> Tally:
        """Wait for the decisions on a call's events of a stream."""
        return await self._decisions.wait(call, stream, events)

    def _count_once(self, write_future: Future[None], counts: Mapping[str, int]) -> None:
        def count(future: Future[None]) -> None:
            if not future.cancelled() and future.exception() is None:
                for name, amount in counts.items():
                    self._count(name, amount)

        write_future.add_done_callback(count)


class _Call:
    """The events of one call: how many each stream got, and which writes are not durable yet."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._name: str | None = None
        self._event_counts: dict[str, int] = {}
        self._refusal_counts: dict[str, int] = {}
        self._rejections: list[Rejection] = []
        # By destination, since each settles in its own order.
        self._under_way: defaultdict[str, deque[Future[None]]] = defaultdict(deque)

    async def take(self, batch: EventBatch) -> None:
        self._ingest.admission(batch.stream)
        if batch.mark is not None:
            self._ingest.check_mark(batch.stream, batch.mark)
        if self._name is None:
            self._name = uuid4().hex[:16] if batch.decide else ""
        for start in range(0, len(batch.events), _RUN):
            self._settle()
            await self._take_run(batch.stream, batch.events[start : start + _RUN])
            await asyncio.sleep(0)
        notes = [Note(batch.mark)] if batch.mark is not None else []
        for note in [*notes, *([Note(None)] if batch.end else [])]:
            self._settle()
            self._under_way[batch.stream].append(await self._ingest.note(batch.stream, note))

    async def _take_run(self, stream: str, events: Sequence[bytes]) -> None:
        first = self._event_counts.get(stream, 0)
        self._event_counts[stream] = first + len(events)
        under_way, refusals = await self._ingest.write(stream, events, self._name or "", first)
        for destination, future in under_way:
            self._under_way[destination].append(future)
        self._refusal_counts[stream] = self._refusal_counts.get(stream, 0) + len(refusals)
        self._reject(stream, [(first + index, error) for index, error in refusals])

    def _reject(self, stream: str, refusals: Sequence[tuple[int, InvalidEvent]]) -> None:
        room = MAX_REJECTIONS - len(self._rejections)
        self._rejections += [Rejection(stream, index, error) for index, error in refusals[:room]]

    def _settle(self) -> None:
        """Drop writes that are durable; raise the error of a failed one before anything is written after it."""
        for futures in self._under_way.values():
            while futures and futures[0].done():
                futures.popleft().result()

    async def finish(self) -> Summary:
        for futures in self._under_way.values():
            for future in futures:
                await future
        rejected = sum(self._refusal_counts.values())
        if not self._name:
            return Summary(sum(self._event_counts.values()) - rejected, rejected, self._rejections)
        total = Tally()
        for stream, count in self._event_counts.items():
            tally = await self._ingest.decided(self._name, stream, count - self._refusal_counts.get(stream, 0))
            self._reject(
                stream,
                [
                    (refusal.index, InvalidEvent(refusal.field, refusal.value, refusal.expected))
                    for refusal in tally.refusals
                ],
            )
            total = total.merged(tally)
        undecided = sum(self._event_counts.values()) - rejected - total.total
        return Summary(
            total.accepted,
            rejected + total.rejected,
            self._rejections,
            total.repeats,
            total.late,
            max(undecided, 0),
        )
