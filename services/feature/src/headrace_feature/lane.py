"""A lane: a worker with the sources that it reads, in one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from headrace.errors import Fenced, Unavailable, Unreadable
from headrace.runtime.pulsar.batch import Batch
from headrace.wire.position import START, Position
from headrace_feature.ports import LaneWorker
from headrace_feature.pulsar.source import Source

_log = structlog.get_logger()
_Result = TypeVar("_Result")

#: Seconds before a retry after a failure of the broker or the store.
RETRY = 0.5


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

    def __init__(self, name: str, sources: Sequence[Source], worker: LaneWorker) -> None:
        self.name = name
        self.sources = list(sources)
        self._worker = worker
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._work = asyncio.Event()
        self._stepped = asyncio.Condition()
        self._fed = False
        self._listeners: list[Callable[[], None]] = []
        #: By source, why its stored state cannot be read.
        self.refused: dict[str, str] = {}

    def on_work(self, notify: Callable[[], None]) -> None:
        """Call `notify`, on the event loop, after each step that took in a batch or did something."""
        self._listeners.append(notify)

    def submit(self, call: Callable[..., _Result], *arguments: Any) -> _Result:
        """Run a call in the worker's thread, from a reader's thread."""
        return self._thread.submit(call, *arguments).result()

    async def take(self, source: Source, delivery: Delivery) -> None:
        """Give the worker a batch (or the end of a log); return once there is room for the next."""
        if delivery.batch is not None:
            await self._run_or_give_up(source.accept, delivery.epoch, delivery.batch)
        else:
            await self._run_or_give_up(source.note_silence if delivery.silent else source.note_end, delivery.end)
        self._fed = self._fed or delivery.batch is not None
        self._work.set()
        async with self._stepped:
            await self._stepped.wait_for(lambda: not source.is_full())

    async def run(self) -> None:
        """Step whenever there may be work, until cancelled."""
        while True:
            # Poll as well: other workers and time create work without notifying us.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._worker.pulse):
                    await self._work.wait()
            self._work.clear()
            while True:
                more = await self._run_or_give_up(self._worker.step)
                async with self._stepped:
                    self._stepped.notify_all()
                if more or self._fed:
                    self._fed = False
                    self._notify_all()
                if not more:
                    break

    def close(self) -> None:
        """End the thread after its current call."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _notify_all(self) -> None:
        for notify in self._listeners:
            notify()

    async def _run_or_give_up(self, call: Callable[..., _Result], *arguments: Any) -> _Result | None:
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
