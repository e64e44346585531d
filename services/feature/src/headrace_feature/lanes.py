"""Lanes: each is a worker with the sources that it reads, in one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from headrace.errors import Fenced, Unavailable, Unreadable
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.consumer import PartitionConsumer
from headrace.wire.position import START, Position
from headrace_feature.tenure import Tenure

_log = structlog.get_logger()
_Result = TypeVar("_Result")

#: Seconds before a retry after a failure of the broker or the store.
RETRY = 0.5


def _nobody(_end: Position) -> None:
    """Ignore the end of a log."""


@dataclass(frozen=True)
class Source:
    """One partition that a worker reads.

    Attributes
    ----------
    ready
        Whether it may be read now: polled in the worker's thread until it may.
    open
        Subscribe to it.
    take_over
        Become its owner.
    elected
        Whether the worker owns it as soon as it is ready; otherwise, from the first message that the broker delivers.
    owned
        Whether the worker has owned it without a break since the given epoch.
    accept
        Accept a batch that was read in an epoch.
    rest
        Called when it has been silent for long and its log ends here; repeated while it stays silent.
    seen
        Called with the end of its log right after subscribing; skipped if the source delivers something at once.
    full
        Whether the reader must wait until the worker has done more.
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
    """The work of a lane, done in one thread."""

    @property
    def pulse(self) -> float:
        """Seconds after which to look for work that nothing announces."""
        ...

    def step(self) -> bool:
        """Do what can be done now; return False if there was nothing."""
        ...

    def give_up(self) -> None:
        """Give up everything that it owns."""
        ...


@dataclass(frozen=True)
class Delivery:
    """An item of a channel: a batch with the epoch it was read in, or the end of a log that delivers nothing.

    Not a tuple: Faust takes those apart.

    Attributes
    ----------
    silent
        Whether the log has delivered nothing for long.
    """

    epoch: int
    batch: Batch | None
    end: Position = START
    silent: bool = True


class Lane:
    """A worker with its sources: a single thread runs everything that touches the worker's state."""

    def __init__(self, name: str, sources: list[Source], worker: Worker) -> None:
        self.name = name
        self.sources = sources
        self._worker = worker
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._work = asyncio.Event()
        self._stepped = asyncio.Condition()
        self._fed = False
        self._notify: list[Callable[[], None]] = []
        #: By source, why its stored state cannot be read.
        self.refused: dict[str, str] = {}

    def on_work(self, notify: Callable[[], None]) -> None:
        """Call `notify`, on the event loop, after each step that took in a batch or did something."""
        self._notify.append(notify)

    def submit(self, call: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run a call in the worker's thread, from a reader's thread."""
        return self._thread.submit(call, *arguments).result()

    async def take(self, source: Source, delivery: Delivery) -> None:
        """Give the worker a batch (or the end of a log); return once there is room for the next."""
        if delivery.batch is not None:
            await self._surely(source.accept, delivery.epoch, delivery.batch)
        else:
            await self._surely(source.rest if delivery.silent else source.seen, delivery.end)
        self._fed = self._fed or delivery.batch is not None
        self._work.set()
        async with self._stepped:
            await self._stepped.wait_for(lambda: not source.full())

    async def run(self) -> None:
        """Step whenever there may be work, until cancelled."""
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
        """End the thread after its current call."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _tell(self) -> None:
        for notify in self._notify:
            notify()

    async def _surely(self, call: Callable[..., _Result], *arguments: Any) -> _Result | None:
        """Run a call in the worker's thread; if it fails, give up what may be half done and return None."""
        try:
            return await self._run(call, *arguments)
        except (Fenced, Unavailable, Unreadable) as error:
            _log.warning("lane_restarted", lane=self.name, reason=str(error))
            await self._run(self._worker.give_up)
            await asyncio.sleep(RETRY)
            return None

    async def _run(self, call: Callable[..., _Result], *arguments: Any) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
