"""The gathering of events that come one at a time into runs, each sent soon after its first event; internal."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

#: Seconds that an event waits for others to be sent with it.
LINGER_S = 0.005


class Gathering:
    """Runs of events, sent by a thread: the caller's iterator may pause, and what it gave is sent meanwhile.

    Parameters
    ----------
    send
        Sends a run; it may block.
    size
        Events in a run, and events that may wait, at most.
    """

    def __init__(self, send: Callable[[list[bytes]], None], size: int) -> None:
        self._send = send
        self._size = size
        self._events: list[bytes] = []
        self._since = 0.0
        self._is_complete = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        # A daemon, because the service may never take the run.
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def add(self, event: bytes) -> None:
        """Add the next event; wait while there are too many. Raise the error of a run that could not be sent."""
        with self._changed:
            while len(self._events) >= self._size and self._error is None:
                self._changed.wait()
            if self._error is not None:
                raise self._error
            self._events.append(event)
            if len(self._events) == 1:
                self._since = time.monotonic()
            if len(self._events) in (1, self._size):
                self._changed.notify_all()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Send what waits, and raise the error of a run that could not be sent; after an error, send nothing."""
        with self._changed:
            self._is_complete = True
            if error is not None:
                self._events.clear()
            self._changed.notify_all()
        if error is None:
            self._thread.join()
            if self._error is not None:
                raise self._error

    def _run(self) -> None:
        try:
            while run := self._next():
                self._send(run)
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next(self) -> list[bytes]:
        """Return the next run; it is empty at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._is_complete)
            left = self._since + LINGER_S - time.monotonic()
            self._changed.wait_for(lambda: len(self._events) >= self._size or self._is_complete, max(left, 0.0))
            run, self._events = self._events, []
            self._changed.notify_all()
            return run


class AsyncGathering:
    """Runs of events, sent by a task: see `Gathering`."""

    def __init__(self, send: Callable[[list[bytes]], Awaitable[None]], size: int) -> None:
        self._send = send
        self._size = size
        self._events: list[bytes] = []
        self._is_complete = False
        self._error: Exception | None = None
        self._arrived, self._full, self._room = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def add(self, event: bytes) -> None:
        """Add the next event: see `Gathering.add`."""
        while len(self._events) >= self._size and self._error is None:
            self._room.clear()
            await self._room.wait()
        if self._error is not None:
            raise self._error
        self._events.append(event)
        self._arrived.set()
        if len(self._events) == self._size:
            self._full.set()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Send what waits: see `Gathering.__exit__`."""
        assert self._task is not None
        if error is not None:
            self._task.cancel()
        self._is_complete = True
        self._arrived.set()
        self._full.set()
        await asyncio.wait([self._task])
        if error is None and self._error is not None:
            raise self._error

    async def _run(self) -> None:
        try:
            while run := await self._next():
                await self._send(run)
        except Exception as error:
            self._error = error
            self._room.set()

    async def _next(self) -> list[bytes]:
        """Return the next run; it is empty at the end."""
        await self._arrived.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await self._full.wait()
        run, self._events = self._events, []
        self._room.set()
        if not self._is_complete:
            self._arrived.clear()
            self._full.clear()
        return run
