"""One topic's way to the broker: a thread of its own takes what is there, sends it, and tells who waits.

The thread keeps the broker's slowness away from the event loop; what is under way is bounded by a `Room`.
Everything of a lane arrives in the order in which it was put there: what was put behind something that failed
fails too, unsent, or it would overtake what its caller sends again.
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

from headrace.errors import HeadraceError, Unavailable
from headrace.log.produce import Producer
from headrace.log.route import PARTITION
from headrace.log.topics import CALL, END
from headrace.marks import properties_of
from headrace_ingest.ports import Note
from headrace_ingest.room import Room

_log = structlog.get_logger()

#: What an event under way costs besides its bytes.
_OVERHEAD = 256
#: Events that one round sends before it tells those who wait.
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


class Lane:
    """Writes to one topic, through one producer.

    Parameters
    ----------
    partitions
        How many the topic has: each gets the marks and ends.
    room
        Bounds what is under way.
    """

    def __init__(self, producer: Producer, partitions: int, room: Room, loop: AbstractEventLoop) -> None:
        self._producer = producer
        self._partitions = partitions
        self._room = room
        self._loop = loop
        # How many rounds failed: as the thread knows it, and as callers have been told.
        self._failed = 0
        self._told = 0
        self._error: HeadraceError | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"lane {producer.topic}", daemon=True)
        self._thread.start()

    async def write(self, payloads: Sequence[bytes], keys: Sequence[str], calls: Sequence[str] = ()) -> Future[None]:
        """Put events on their way; the future is done once the broker has them durably.

        Parameters
        ----------
        calls
            Of each the call that sent it, where that wants to know what is decided.

        Raises
        ------
        Overloaded
            Too much is under way.
        """
        return await self._put(payloads, keys, calls, None)

    async def note(self, note: Note) -> Future[None]:
        """Put a mark, or the end of a history, for each partition on its way."""
        return await self._put((), (), (), note)

    async def _put(
        self, payloads: Sequence[bytes], keys: Sequence[str], calls: Sequence[str], note: Note | None
    ) -> Future[None]:
        failures = self._told
        size = sum(map(len, payloads)) + _OVERHEAD * (len(payloads) or 1)
        await self._room.enter(size)
        done = self._loop.create_future()
        # A caller that has gone away retrieves no error.
        done.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._jobs.put(_Job(payloads, keys, calls, note, size, failures, done))
        return done

    async def close(self) -> None:
        """Send what is on its way, and end."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._producer.close)

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, last = self._round(first)
            behind = [job for job in jobs if job.failures < self._failed]
            if behind:
                self._tell(behind, self._error)
            fresh = [job for job in jobs if job.failures == self._failed]
            if fresh:
                self._tell(fresh, self._send(fresh))
            if last:
                return

    def _round(self, first: _Job) -> tuple[list[_Job], bool]:
        """What is there, up to a round; True where the lane ends behind it."""
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
            self._failed += 1
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
            _log.exception("sending failed", topic=self._producer.topic)
            return Unavailable(f"broker: {self._producer.topic}: {error}")
        return None

    def _note(self, note: Note) -> None:
        said = {END: "1"} if note.mark is None else properties_of(note.mark)
        for partition in range(self._partitions):
            self._producer.send(b"", properties={**said, PARTITION: str(partition)})

    def _tell(self, jobs: Sequence[_Job], error: HeadraceError | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._settle, jobs, error, self._failed)
        except RuntimeError:  # the loop has ended before its lanes: nobody waits
            _log.warning("answers lost at the end", topic=self._producer.topic, jobs=len(jobs))

    def _settle(self, jobs: Sequence[_Job], error: HeadraceError | None, failed: int) -> None:
        self._told = failed
        for job in jobs:
            self._room.leave(job.size)
            if job.done.done():
                continue
            if error is None:
                job.done.set_result(None)
            else:
                job.done.set_exception(error)


class _Run(NamedTuple):
    """Events that are sent in one go (with calls, or without), and the note behind them."""

    payloads: list[bytes]
    keys: list[str]
    calls: list[str]
    note: Note | None


def _runs(jobs: Sequence[_Job]) -> Iterator[_Run]:
    """The events between notes, those with a call apart from those without."""
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
