"""Feeds of streams: they draw a caller's requests, and hand them to the call under way; internal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Generic, TypeVar

from headrace.client.request_window import RequestWindow

_Request = TypeVar("_Request")


class Feed(Generic[_Request]):
    """A feed with a thread of its own, which draws the requests as the service answers the ones before."""

    def __init__(self, requests: Iterable[_Request], limit: int) -> None:
        self._window = RequestWindow[_Request](limit)
        self._changed = threading.Condition()
        # A daemon, because the caller's iterator may never return.
        threading.Thread(target=self._draw, args=(iter(requests),), name="score-requests", daemon=True).start()

    @property
    def error(self) -> BaseException | None:
        """The error that the caller's iterator raised."""
        return self._window.error

    def requests(self) -> Iterator[_Request]:
        """Return the requests of a new call: first those that the call before left without an answer."""
        with self._changed:
            call = self._window.open()
            self._changed.notify_all()
        return self._requests(call)

    def answer(self) -> None:
        """Note that the oldest request was answered."""
        with self._changed:
            self._window.answer()
            self._changed.notify_all()

    def close(self) -> None:
        """Draw no further requests."""
        with self._changed:
            self._window.close()
            self._changed.notify_all()

    def _requests(self, call: int) -> Iterator[_Request]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._window.has_news(call))
                request = self._window.next(call)
            if request is None:
                return
            yield request

    def _draw(self, requests: Iterator[_Request]) -> None:
        error = None
        try:
            for request in requests:
                with self._changed:
                    wanted = self._window.add(request)
                    self._changed.notify_all()
                    self._changed.wait_for(self._window.has_room)
                if not wanted:
                    return
        except Exception as raised:
            error = raised
        with self._changed:
            self._window.complete(error)
            self._changed.notify_all()


class AsyncFeed(Generic[_Request]):
    """A feed with a task of its own, which draws the requests as the service answers the ones before."""

    def __init__(self, requests: AsyncIterable[_Request], limit: int) -> None:
        self._window = RequestWindow[_Request](limit)
        self._changed = asyncio.Condition()
        self._drawing = asyncio.create_task(self._draw(requests))

    @property
    def error(self) -> BaseException | None:
        """The error that the caller's iterator raised."""
        return self._window.error

    async def requests(self) -> AsyncIterator[_Request]:
        """Yield the requests of a new call: first those that the call before left without an answer."""
        call = self._window.open()
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._window.has_news(call))
                request = self._window.next(call)
            if request is None:
                return
            yield request

    async def answer(self) -> None:
        """Note that the oldest request was answered."""
        async with self._changed:
            self._window.answer()
            self._changed.notify_all()

    async def close(self) -> None:
        """Draw no further requests."""
        self._drawing.cancel()
        await asyncio.wait([self._drawing])

    async def _draw(self, requests: AsyncIterable[_Request]) -> None:
        error = None
        try:
            async for request in requests:
                async with self._changed:
                    self._window.add(request)
                    self._changed.notify_all()
                    await self._changed.wait_for(self._window.has_room)
        except Exception as raised:
            error = raised
        async with self._changed:
            self._window.complete(error)
            self._changed.notify_all()
