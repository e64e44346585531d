"""The handlers' `EventLog`, backed by the loop's topics."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence

from headrace.v1 import dead_letter_pb2
from headrace_ingest.ports import Note, Refused
from headrace_ingest.pulsar.topic_writer import TopicWriter

#: Bytes of an event that a dead letter keeps: brokers accept messages of 5 MB.
_MAX_EVENT = 4 * 2**20


class PulsarLog:
    """The writer of each stream, and that of the dead letters."""

    def __init__(self, streams: Mapping[str, TopicWriter], dead_letters: TopicWriter, now: Callable[[], int]) -> None:
        self._streams = streams
        self._dead_letters = dead_letters
        self._now = now

    async def write(
        self, stream: str, payloads: Sequence[bytes], keys: Sequence[str], calls: Sequence[str] = ()
    ) -> Future[None]:
        return await self._streams[stream].write(payloads, keys, calls)

    async def note(self, stream: str, note: Note) -> Future[None]:
        return await self._streams[stream].note(note)

    async def write_refused(self, refusals: Sequence[Refused]) -> Future[None]:
        payloads = [self._dead_letter(refusal) for refusal in refusals]
        return await self._dead_letters.write(payloads, [refusal.stream for refusal in refusals])

    async def close(self) -> None:
        """Send what is under way, and end."""
        await asyncio.gather(*(writer.close() for writer in (*self._streams.values(), self._dead_letters)))

    def _dead_letter(self, refusal: Refused) -> bytes:
        error = refusal.error
        return dead_letter_pb2.DeadLetter(
            stream=refusal.stream,
            field=error.field,
            value=error.value,
            expected=error.expected,
            event=refusal.event[:_MAX_EVENT],
            service="ingest",
            refused_at=self._now(),
        ).SerializeToString()
