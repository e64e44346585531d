"""The Faust application: channels of batches between the threads that read partitions and the lanes that work on them.

Faust provides the life cycle, channels, timers and web view; no guarantee depends on it, and no other module
imports it. A worker that is fenced, or whose broker or store fails, gives up what it owns and takes it over again
from the stored state; any other error ends the process. No restart skips a batch.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import faust
import structlog
from faust.app.base import BootStrategy

from headrace.errors import Unavailable
from headrace_feature.lane import Delivery, Lane
from headrace_feature.pulsar.partition_reader import PartitionReader
from headrace_feature.pulsar.source import Source

_log = structlog.get_logger()

#: Batches that wait in a partition's channel: the back-pressure on its reader.
CHANNEL = 4

# Seconds to wait for readers to end: a reader that is blocked on a full channel does not end at all.
_READERS_END_S = 3.0


@dataclass(frozen=True)
class Routine:
    """A call to repeat off the event loop; `Unavailable` postpones it to the next period.

    Attributes
    ----------
    period
        Seconds between two calls while lanes work.
    quiet
        Seconds between two calls while lanes have no work; work ends the wait.
    """

    call: Callable[[], None]
    period: float
    quiet: float


class _WithoutKafka(BootStrategy):  # type: ignore[misc]
    enable_kafka = False


class _WithoutSampling(faust.Monitor):  # type: ignore[misc]
    """A monitor that takes no samples each second: they would only feed a web view that is off."""

    @faust.Service.task  # type: ignore[untyped-decorator]
    async def _sampler(self) -> None:
        return


class _Application(faust.App):  # type: ignore[misc]
    BootStrategy = _WithoutKafka

    def _create_directories(self) -> None:
        """Do nothing: the directories are for Faust's tables, and would appear in the working directory."""


class FaustApp:
    """The lanes of a process, run until it is stopped.

    Parameters
    ----------
    idle
        Seconds without a message after which a source counts as idle.
    routines
        The calls to repeat.
    failed
        Called with the error of a failed lane or routine.
    web_port
        Port of Faust's web view; None disables it.
    """

    def __init__(
        self,
        lanes: list[Lane],
        idle: float,
        routines: Sequence[Routine],
        *,
        failed: Callable[[BaseException], None],
        web_port: int | None = None,
    ) -> None:
        self._lanes = lanes
        self._idle = idle
        self._routines = routines
        self._stopping = threading.Event()
        self._failed = failed
        self._app = _Application(
            "headrace-feature",
            # Never connected: see `_WithoutKafka`.
            broker="kafka://unused",
            store="memory://",
            monitor=_WithoutSampling() if web_port is None else None,
            web_enabled=web_port is not None,
            # Faust announces `web_host` and listens on `web_bind`.
            web_host="127.0.0.1",
            web_bind="127.0.0.1",
            web_port=web_port or 6066,
        )
        self._readers: list[PartitionReader] = []

    async def start(self) -> None:
        """Start agents, timers and readers."""
        loop = asyncio.get_running_loop()
        for lane in self._lanes:
            self._app.task(self._guarded(lane.run))
            for source in lane.sources:
                channel = self._app.channel(maxsize=CHANNEL)
                self._app.agent(channel, name=f"{lane.name}:{source.name}")(self._agent(lane, source))
                self._readers.append(self._reader(loop, lane, source, channel))
        for routine in self._routines:
            self._app.task(self._guarded(self._repeated(routine)))
        self._app.finalize()
        await self._app.start()
        # Without Kafka, nothing else opens the channels.
        self._app.flow_control.resume()
        for reader in self._readers:
            reader.start()

    async def stop(self) -> None:
        """Stop the readers, then Faust and the lanes; the next owner rereads whatever was not saved."""
        self._stopping.set()
        await self._app.stop()
        for lane in self._lanes:
            await asyncio.to_thread(lane.close)

    def join(self) -> None:
        """Wait for the readers to end, after the client is closed: closing it unblocks them.

        A reader that returns from the client while the interpreter shuts down would abort the process.
        """
        deadline = time.monotonic() + _READERS_END_S
        for reader in self._readers:
            if reader.ident is not None:
                reader.join(max(deadline - time.monotonic(), 0.0))

    def _agent(self, lane: Lane, source: Source) -> Callable[[AsyncIterable[Any]], Awaitable[None]]:
        async def agent(batches: AsyncIterable[Any]) -> None:
            async for batch in batches:
                try:
                    await lane.take(source, batch)
                except Exception as error:
                    self._fail(error)
                    return

        return agent

    def _repeated(self, routine: Routine) -> Callable[[], Awaitable[None]]:
        call = _now_or_later(routine.call)
        work = asyncio.Event()
        for lane in self._lanes:
            lane.on_work(work.set)

        async def repeat() -> None:
            while True:
                work.clear()
                await call()
                await asyncio.sleep(routine.period)
                if routine.quiet > routine.period:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(routine.quiet - routine.period):
                            await work.wait()

        return repeat

    def _guarded(self, call: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def guarded() -> None:
            try:
                await call()
            except Exception as error:
                self._fail(error)

        return guarded

    def _reader(self, loop: asyncio.AbstractEventLoop, lane: Lane, source: Source, channel: Any) -> PartitionReader:
        def put(delivery: Delivery) -> None:
            asyncio.run_coroutine_threadsafe(channel.put(delivery), loop).result()

        return PartitionReader(lane, source, idle=self._idle, stopping=self._stopping, put=put, fail=self._fail)

    def _fail(self, error: BaseException) -> None:
        if not self._stopping.is_set():
            self._failed(error)


def _now_or_later(call: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    """Wrap a routine: run it off the event loop, and skip a period if a server is unavailable."""

    async def run() -> None:
        try:
            await asyncio.to_thread(call)
        except Unavailable as error:
            _log.warning("source_not_ready", reason=str(error))

    return run
