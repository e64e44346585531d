"""Lanes: a worker with the sources that it reads, in one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from headrace.errors import Fenced, Unavailable, Unreadable
from headrace.log.batch import Batch
from headrace.log.consume import PartitionConsumer
from headrace.log.position import START, Position
from headrace_feature.tenure import Tenure

_log = structlog.get_logger()
_Result = TypeVar("_Result")

#: Seconds before what a broker or a store failed is tried again.
RETRY = 0.5


def _nobody(_end: Position) -> None:
    """Tell nobody."""


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
    seen
        Its log ends here, seen as soon as it was subscribed to; not told of a source that brings something at once.
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
    seen: Callable[[Position], None] = _nobody
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
    """What travels through a channel: a batch with the epoch it was read in, or where a log ends that brings nothing.

    No tuple: Faust takes those apart.

    Attributes
    ----------
    silent
        The log has brought nothing for long.
    """

    epoch: int
    batch: Batch | None
    end: Position = START
    silent: bool = True


class Lane:
    """One worker with its sources: a single thread runs all that touches the worker's state."""

    def __init__(self, name: str, sources: list[Source], worker: Worker) -> None:
        self.name = name
        self.sources = sources
        self._worker = worker
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._work = asyncio.Event()
        self._stepped = asyncio.Condition()
        self._fed = False
        self._notify: list[Callable[[], None]] = []
        #: By source why what the store has of it cannot be read.
        self.refused: dict[str, str] = {}

    def on_work(self, notify: Callable[[], None]) -> None:
        """Call `notify`, on the event loop, after each step that took a batch in or did something."""
        self._notify.append(notify)

    def submit(self, call: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run in the worker's thread, from a reader's."""
        return self._thread.submit(call, *arguments).result()

    async def take(self, source: Source, delivery: Delivery) -> None:
        """Give the worker a batch (or where a log ends); returns once there is room for the next."""
        if delivery.batch is not None:
            await self._surely(source.accept, delivery.epoch, delivery.batch)
        else:
            await self._surely(source.rest if delivery.silent else source.seen, delivery.end)
        self._fed = self._fed or delivery.batch is not None
        self._work.set()
        async with self._stepped:
            await self._stepped.wait_for(lambda: not source.full())

    async def run(self) -> None:
        """Step whenever there may be work, for ever."""
        while True:
            # Poll as well: other workers and time create work without notifying us.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._worker.pulse):
                    await self._work.wait()
            self._work.clear()
            while True:
                more = await self._surely(self._worker.step)
                async with self._stepped:
                    self._stepped.notify_all()
                if more or self._fed:
                    self._fed = False
                    self._tell()
                if not more:
                    break

    def close(self) -> None:
        """End the thread, after what it is doing."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _tell(self) -> None:
        for notify in self._notify:
            notify()

    async def _surely(self, call: Callable[..., _Result], *arguments: Any) -> _Result | None:
        """Run in the worker's thread; what it may have left half done is given up, and nothing returned."""
        try:
            return await self._run(call, *arguments)
        except (Fenced, Unavailable, Unreadable) as error:
            _log.warning("gives up what it owns, and begins again", lane=self.name, reason=str(error))
            await self._run(self._worker.give_up)
            await asyncio.sleep(RETRY)
            return None

    async def _run(self, call: Callable[..., _Result], *arguments: Any) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
