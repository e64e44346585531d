"""The handlers' `EventLog`, backed by the loop's topics."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Mapping, Sequence

from headrace.runtime.pulsar.dead_letter_writer import dead_letter_message
from headrace.v1.dead_letter_pb2 import DeadLetter
from headrace_ingest.ports import Note, Refused
from headrace_ingest.pulsar.topic_writer import TopicWriter


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
        letter = DeadLetter(
            stream=refusal.stream,
            field=error.field,
            value=error.value,
            expected=error.expected,
            service="ingest",
            refused_at=self._now(),
        )
        payload, _ = dead_letter_message(letter, refusal.event)
        return payload
