"""One topic's way to the broker: a thread takes what is queued, sends it, and answers the callers.

The thread shields the event loop from a slow broker; an `InFlightLimit` bounds what is under way.
A writer preserves order: when a send fails, everything queued after it fails too, unsent. Otherwise it
would overtake what its caller sends again.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from asyncio import AbstractEventLoop, Future
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from headrace.engine.marks import properties_of
from headrace.errors import HeadraceError, Unavailable
from headrace.runtime.pulsar.producer import Producer
from headrace.runtime.pulsar.routing import PARTITION
from headrace.wire.topics import CALL, END
from headrace_ingest.in_flight import InFlightLimit
from headrace_ingest.ports import Note

_log = structlog.get_logger()

#: Bytes that an event under way costs besides its payload.
_OVERHEAD = 256
#: Events that one round sends before it answers their callers.
_ROUND = 5_000


@dataclass
class _Job:
    payloads: Sequence[bytes]
    keys: Sequence[str]
    calls: Sequence[str]
    note: Note | None
    size: int
    failures: int
    done: Future[None]


class TopicWriter:
    """An ordered queue of writes to one topic, through one producer.

    Parameters
    ----------
    partitions
        The topic's number of partitions: marks and ends are sent to each of them.
    limit
        Bounds what is under way.
    """

    def __init__(self, producer: Producer, partitions: int, limit: InFlightLimit, loop: AbstractEventLoop) -> None:
        self._producer = producer
        self._partitions = partitions
        self._limit = limit
        self._loop = loop
        # The number of failed rounds: as the thread counts it, and as the callers know it.
        self._failures = 0
        self._known_failures = 0
        self._error: HeadraceError | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"write {producer.topic}", daemon=True)
        self._thread.start()

    async def write(self, payloads: Sequence[bytes], keys: Sequence[str], calls: Sequence[str] = ()) -> Future[None]:
        """Queue events; the future is done once the broker has them durably.

        Parameters
        ----------
        calls
            For each event, the call that sent it, if that call waits for the decision.

        Raises
        ------
        Overloaded
            Too much is under way.
        """
        return await self._put(payloads, keys, calls, None)

    async def note(self, note: Note) -> Future[None]:
        """Queue a mark, or the end of a history, for each partition."""
        return await self._put((), (), (), note)

    async def _put(
        self, payloads: Sequence[bytes], keys: Sequence[str], calls: Sequence[str], note: Note | None
    ) -> Future[None]:
        failures = self._known_failures
        size = sum(map(len, payloads)) + _OVERHEAD * (len(payloads) or 1)
        await self._limit.enter(size)
        done = self._loop.create_future()
        # If the caller has gone away, nothing else retrieves the error.
        done.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._jobs.put(_Job(payloads, keys, calls, note, size, failures, done))
        return done

    async def close(self) -> None:
        """Send what is queued, and end."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._producer.close)

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, last = self._round(first)
            stale = [job for job in jobs if job.failures < self._failures]
            if stale:
                self._answer(stale, self._error)
            fresh = [job for job in jobs if job.failures == self._failures]
            if fresh:
                self._answer(fresh, self._send(fresh))
            if last:
                return

    def _round(self, first: _Job) -> tuple[list[_Job], bool]:
        """Return the queued jobs, up to a round of them; True if the writer ends after them."""
        jobs, events = [first], len(first.payloads)
        while events < _ROUND:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
            events += len(job.payloads)
        return jobs, False

    def _send(self, jobs: Sequence[_Job]) -> HeadraceError | None:
        error = self._try(jobs)
        if error is not None:
            self._failures += 1
            self._error = error
        return error

    def _try(self, jobs: Sequence[_Job]) -> HeadraceError | None:
        try:
            for payloads, keys, calls, note in _runs(jobs):
                self._producer.send_all(payloads, keys, [{CALL: call} for call in calls])
                if note is not None:
                    self._note(note)
            self._producer.flush()
        except HeadraceError as error:
            return error
        except Exception as error:
            _log.exception("sending_failed", topic=self._producer.topic)
            return Unavailable(f"broker: {self._producer.topic}: {error}")
        return None

    def _note(self, note: Note) -> None:
        properties = {END: "1"} if note.mark is None else properties_of(note.mark)
        for partition in range(self._partitions):
            self._producer.send(b"", properties={**properties, PARTITION: str(partition)})

    def _answer(self, jobs: Sequence[_Job], error: HeadraceError | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._settle, jobs, error, self._failures)
        except RuntimeError:  # the event loop has ended before its writers: no caller waits
            _log.warning("answers_lost_at_shutdown", topic=self._producer.topic, jobs=len(jobs))

    def _settle(self, jobs: Sequence[_Job], error: HeadraceError | None, failures: int) -> None:
        self._known_failures = failures
        for job in jobs:
            self._limit.leave(job.size)
            if job.done.done():
                continue
            if error is None:
                job.done.set_result(None)
            else:
                job.done.set_exception(error)


class _Run(NamedTuple):
    """Events that are sent in one go (all with calls, or all without), and the note after them."""

    payloads: list[bytes]
    keys: list[str]
    calls: list[str]
    note: Note | None


def _runs(jobs: Sequence[_Job]) -> Iterator[_Run]:
    """Yield the events between notes, those with a call apart from those without."""
    run = _Run([], [], [], None)
    for job in jobs:
        if run.payloads and job.payloads and bool(run.calls) != bool(job.calls):
            yield run
            run = _Run([], [], [], None)
        run.payloads.extend(job.payloads)
        run.keys.extend(job.keys)
        run.calls.extend(job.calls)
        if job.note is not None:
            yield run._replace(note=job.note)
            run = _Run([], [], [], None)
    if run.payloads:
        yield run
