"""The Faust application: threads that read partitions, channels of batches, agents that hand them to workers.

Faust gives the service its life cycle, channels, timers and web view; no guarantee rests on it, and no
other module imports it. An error of a worker ends the process: its partitions go to another one, which
starts from what the store holds. Nothing is restarted past a batch.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import faust
import structlog
from faust.app.base import BootStrategy

from headrace.errors import Unavailable
from headrace.log.consume import Batch, PartitionConsumer
from headrace.log.position import Position

_log = structlog.get_logger()
_Result = TypeVar("_Result")

#: Batches that wait in a partition's channel: the back-pressure on its reader.
CHANNEL = 4

#: Seconds after which a lane without messages looks whether it can go on.
PULSE = 0.1


@dataclass(frozen=True)
class Source:
    """One partition that a worker reads.

    Attributes
    ----------
    take_over
        Become its owner; returns the position to go on from.
    accept
        Take a batch.
    rest
        It has been silent for long, and its log ends here; told again as long as it is silent.
    full
        Whether the reader has to wait until the worker has done more.
    """

    name: str
    consumer: PartitionConsumer
    take_over: Callable[[], Position]
    accept: Callable[[Batch], None]
    rest: Callable[[Position], None]
    full: Callable[[], bool]


class Lane:
    """One worker with its sources: a single thread runs all that touches the worker's state."""

    def __init__(self, name: str, sources: list[Source], step: Callable[[], bool]) -> None:
        self.name = name
        self.sources = sources
        self._step = step
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._work = asyncio.Event()
        self._stepped = asyncio.Condition()

    def submit(self, call: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run in the worker's thread, from a reader's."""
        return self._thread.submit(call, *arguments).result()

    async def take(self, source: Source, batch: Batch | Position) -> None:
        """Give the worker a batch (or where a silent log ends); returns once there is room for the next."""
        if isinstance(batch, Batch):
            await self._run(source.accept, batch)
        else:
            await self._run(source.rest, batch)
        self._work.set()
        async with self._stepped:
            await self._stepped.wait_for(lambda: not source.full())

    async def run(self) -> None:
        """Step whenever there may be work, for ever."""
        while True:
            # What others do, and time, make work as well, and nobody tells.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._work.wait(), PULSE)
            self._work.clear()
            while True:
                more = await self._run(self._step)
                async with self._stepped:
                    self._stepped.notify_all()
                if not more:
                    break

    def close(self) -> None:
        """End the thread, after what it is doing."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _run(self, call: Callable[..., _Result], *arguments: Any) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)


class _WithoutKafka(BootStrategy):  # type: ignore[misc]
    enable_kafka = False


class _Application(faust.App):  # type: ignore[misc]
    BootStrategy = _WithoutKafka

    def _create_directories(self) -> None:
        """Make none: they are for Faust's tables, and would lie in whatever directory the process runs in."""


class FeatureApp:
    """Runs lanes until it is stopped or one of them fails.

    Parameters
    ----------
    idle
        A source's silence (s) after which it holds nobody back.
    every
        What to do regularly, off the event loop, by its period in seconds; `Unavailable` puts it off to the next time.
    web_port
        Where Faust's web view listens, if anywhere.
    """

    def __init__(
        self, lanes: list[Lane], idle: float, every: list[tuple[float, Callable[[], None]]], web_port: int | None = None
    ) -> None:
        self._lanes = lanes
        self._idle = idle
        self._every = every
        self._stopping = threading.Event()
        self._failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._app = _Application(
            "headrace-feature",
            # Never connected to: `_WithoutKafka`.
            broker="kafka://unused",
            store="memory://",
            web_enabled=web_port is not None,
            web_host="127.0.0.1",
            web_port=web_port or 6066,
        )
        self._readers: list[threading.Thread] = []

    async def start(self) -> None:
        """Start agents, timers and readers."""
        loop = asyncio.get_running_loop()
        for lane in self._lanes:
            self._app.task(self._guarded(lane.run))
            for source in lane.sources:
                channel = self._app.channel(maxsize=CHANNEL)
                self._app.agent(channel, name=f"{lane.name}:{source.name}")(self._agent(lane, source))
                reader = threading.Thread(target=self._read, args=(loop, lane, source, channel), daemon=True)
                self._readers.append(reader)
        for period, call in self._every:
            self._app.timer(period)(self._guarded(_now_or_later(call)))
        self._app.finalize()
        await self._app.start()
        # Without Kafka nobody opens the channels.
        self._app.flow_control.resume()
        for reader in self._readers:
            reader.start()

    async def wait(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set.

        Raises
        ------
        BaseException
            What a lane failed with.
        """
        stopped = asyncio.ensure_future(stop.wait())
        ends: set[asyncio.Future[Any]] = {stopped, self._failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self._failed.done():
            raise self._failed.result()

    async def stop(self) -> None:
        """Stop reading, then everything else; what was not saved is read again by the next owner."""
        self._stopping.set()
        await self._app.stop()
        for lane in self._lanes:
            await asyncio.to_thread(lane.close)

    def _agent(self, lane: Lane, source: Source) -> Callable[[AsyncIterable[Any]], Awaitable[None]]:
        async def agent(batches: AsyncIterable[Any]) -> None:
            async for batch in batches:
                try:
                    await lane.take(source, batch.value)
                except Exception as error:
                    self._fail(error)
                    return

        return agent

    def _guarded(self, call: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def guarded() -> None:
            try:
                await call()
            except Exception as error:
                self._fail(error)

        return guarded

    def _read(self, loop: asyncio.AbstractEventLoop, lane: Lane, source: Source, channel: Any) -> None:
        def put(batch: Batch | Position) -> None:
            asyncio.run_coroutine_threadsafe(channel.put(_Delivery(batch)), loop).result()

        try:
            owner, heard = False, time.monotonic()
            while not self._stopping.is_set():
                batch = source.consumer.receive()
                if batch:
                    if not owner:
                        batch = source.consumer.start_after(lane.submit(source.take_over), batch)
                        owner = True
                    heard = time.monotonic()
                    if batch:
                        put(batch)
                elif time.monotonic() - heard > self._idle:
                    heard = time.monotonic()
                    # A broker that is away is silent, too: idle is only a log that has ended.
                    end = source.consumer.end()
                    if end is not None:
                        put(end)
        except Exception as error:
            if not self._stopping.is_set():
                loop.call_soon_threadsafe(self._fail, error)

    def _fail(self, error: BaseException) -> None:
        if not self._failed.done() and not self._stopping.is_set():
            _log.error("worker failed", error=repr(error), exc_info=error)
            self._failed.set_result(error)


def _now_or_later(call: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    """What is told or acknowledged, off the event loop: it loses nothing by being done a period later."""

    async def run() -> None:
        try:
            await asyncio.to_thread(call)
        except Unavailable as error:
            _log.warning("not now", reason=str(error))

    return run


@dataclass(frozen=True)
class _Delivery:
    """What travels through a channel: Faust takes some values, such as tuples, apart."""

    value: Batch | Position
