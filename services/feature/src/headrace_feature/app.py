"""The Faust application: threads that read partitions, channels of batches, agents that hand them to workers.

Faust gives the service its life cycle, channels, timers and web view; no guarantee rests on it, and no
other module imports it. A worker that is fenced, or that a broker or a store fails, gives up what it holds and takes
it again from what the store says; any other error ends the process. Nothing is restarted past a batch.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterable, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import faust
import structlog
from faust.app.base import BootStrategy

from headrace.errors import Fenced, Unavailable
from headrace.log.batch import Batch
from headrace.log.consume import PartitionConsumer
from headrace.log.position import START, Position
from headrace_feature.tenure import Tenure

_log = structlog.get_logger()
_Result = TypeVar("_Result")

#: Batches that wait in a partition's channel: the back-pressure on its reader.
CHANNEL = 4

#: Seconds between two looks whether a source may be read.
STANDBY = 0.2

#: Seconds before what a broker or a store failed is tried again.
RETRY = 0.5


@dataclass(frozen=True)
class Source:
    """One partition that a worker reads.

    Attributes
    ----------
    ready
        Whether it may be read now: called in the worker's thread, again and again until it may.
    open
        Subscribe to it.
    take_over
        Become its owner.
    elected
        Whether it is the worker's as soon as it is ready; otherwise with the first message that the broker gives to it.
    owned
        Whether it is still this worker's, since the epoch given.
    accept
        Take a batch, read in an epoch.
    rest
        It has been silent for long, and its log ends here; told again as long as it is silent.
    full
        Whether the reader has to wait until the worker has done more.
    """

    name: str
    ready: Callable[[], bool]
    open: Callable[[], PartitionConsumer]
    take_over: Callable[[], Tenure]
    owned: Callable[[int], bool]
    accept: Callable[[int, Batch], None]
    rest: Callable[[Position], None]
    full: Callable[[], bool]
    elected: bool = False


class Worker(Protocol):
    """What a lane runs, in one thread."""

    @property
    def pulse(self) -> float:
        """Seconds after which to look for work that nobody tells of."""
        ...

    def step(self) -> bool:
        """Do what can be done now; False where there was nothing."""
        ...

    def give_up(self) -> None:
        """Give up all that it owns."""
        ...


@dataclass(frozen=True)
class Delivery:
    """What travels through a channel: a batch with the epoch it was read in, or where a silent log ends.

    No tuple: Faust takes those apart.
    """

    epoch: int
    batch: Batch | None
    end: Position = START


class Lane:
    """One worker with its sources: a single thread runs all that touches the worker's state."""

    def __init__(self, name: str, sources: list[Source], worker: Worker) -> None:
        self.name = name
        self.sources = sources
        self._worker = worker
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._work = asyncio.Event()
        self._stepped = asyncio.Condition()

    def submit(self, call: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run in the worker's thread, from a reader's."""
        return self._thread.submit(call, *arguments).result()

    async def take(self, source: Source, delivery: Delivery) -> None:
        """Give the worker a batch (or where a silent log ends); returns once there is room for the next."""
        if delivery.batch is not None:
            await self._surely(source.accept, delivery.epoch, delivery.batch)
        else:
            await self._surely(source.rest, delivery.end)
        self._work.set()
        async with self._stepped:
            await self._stepped.wait_for(lambda: not source.full())

    async def run(self) -> None:
        """Step whenever there may be work, for ever."""
        while True:
            # What others do, and time, make work as well, and nobody tells.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._work.wait(), self._worker.pulse)
            self._work.clear()
            while True:
                more = await self._surely(self._worker.step)
                async with self._stepped:
                    self._stepped.notify_all()
                if not more:
                    break

    def close(self) -> None:
        """End the thread, after what it is doing."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _surely(self, call: Callable[..., _Result], *arguments: Any) -> _Result | None:
        """Run in the worker's thread; what it may have left half done is given up, and nothing returned."""
        try:
            return await self._run(call, *arguments)
        except (Fenced, Unavailable) as error:
            _log.warning("gives up what it owns, and begins again", lane=self.name, reason=str(error))
            await self._run(self._worker.give_up)
            await asyncio.sleep(RETRY)
            return None

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
                    await lane.take(source, batch)
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
        """Read a source whenever it may be, for ever."""

        def put(delivery: Delivery) -> None:
            asyncio.run_coroutine_threadsafe(channel.put(delivery), loop).result()

        try:
            while not self._stopping.is_set():
                if self._may_read(lane, source):
                    self._follow(lane, source, put)
                else:
                    self._stopping.wait(STANDBY)
        except Exception as error:
            if not self._stopping.is_set():
                loop.call_soon_threadsafe(self._fail, error)

    def _may_read(self, lane: Lane, source: Source) -> bool:
        try:
            return lane.submit(source.ready)
        except (Fenced, Unavailable) as error:
            _log.warning("not now", source=source.name, reason=str(error))
            self._stopping.wait(RETRY)
            return False

    def _follow(self, lane: Lane, source: Source, put: Callable[[Delivery], None]) -> None:
        """Subscribe, and read until the source is no longer the worker's."""
        consumer = source.open()
        try:
            self._receive(lane, source, consumer, put)
        except (Fenced, Unavailable) as error:
            if not self._stopping.is_set():
                _log.warning("reads it again", source=source.name, reason=str(error))
            self._stopping.wait(RETRY)
        finally:
            with suppress(Exception):  # of a broker that is away: it closes by itself
                consumer.close()

    def _receive(
        self, lane: Lane, source: Source, consumer: PartitionConsumer, put: Callable[[Delivery], None]
    ) -> None:
        epoch: int | None = None
        heard = time.monotonic()
        while not self._stopping.is_set():
            if epoch is not None and not source.owned(epoch):
                return
            batch = Batch() if source.elected and epoch is None else consumer.receive()
            if epoch is None and (batch or source.elected):
                epoch, position = lane.submit(source.take_over)
                batch = consumer.start_after(position, batch)
            if batch:
                heard = time.monotonic()
                put(Delivery(epoch or 0, batch))
            elif time.monotonic() - heard > self._idle:
                heard = time.monotonic()
                # A broker that is away is silent, too: idle is only a log that has ended.
                end = consumer.end()
                if end is not None:
                    put(Delivery(epoch or 0, None, end))

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
