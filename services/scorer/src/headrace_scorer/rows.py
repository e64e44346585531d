"""Reading of rows: one connection to the store, on which all requests are pipelined.

An asyncio pipeline of redis-py costs more than the read itself: it takes a connection from the pool, starts a task, and
its parser waits for each reply. Here, a batch of reads is one write, and replies are parsed as they arrive.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import hiredis
import structlog
from redis.asyncio.connection import parse_url

from headrace.errors import Unavailable
from headrace_scorer.ports import Fields

_log = structlog.get_logger()


class _ConnectionLost(Exception):
    pass


class _Pipe(asyncio.Protocol):
    """A connection: commands go out, replies come in, in the same order."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[asyncio.Future[list[Any]], int, list[Any]]] = deque()
        self._transport: asyncio.Transport | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.lost.done():
            self.lost.set_result(None)
        for future, _, _ in self._waiting:
            if not future.done():
                future.set_exception(_ConnectionLost())
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        reader, waiting = self._reader, self._waiting
        reader.feed(data)
        while waiting:
            future, count, replies = waiting[0]
            while len(replies) < count:
                reply = reader.gets()
                if reply is False:
                    return
                replies.append(reply)
            waiting.popleft()
            if not future.done():
                future.set_result(replies)

    def send(self, data: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Send `count` commands; their replies are returned together."""
        future = asyncio.get_running_loop().create_future()
        if self._transport is None:
            future.set_exception(_ConnectionLost())
        else:
            self._waiting.append((future, count, []))
            self._transport.write(data)
        return future

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class StoredRows:
    """Rows of a Redis, over one connection that reconnects by itself.

    A read whose connection breaks is repeated on the next one, within `timeout` seconds. Once the store has been down
    for longer than that, reads fail at once.
    """

    def __init__(self, url: str, timeout: float = 0.5, retry: float = 0.1) -> None:
        self._url = url
        self._timeout = timeout
        self._retry = retry
        self._pipe: _Pipe | None = None
        self._up = asyncio.Event()
        self._down_since = 0.0
        self._keeper: asyncio.Task[None] | None = None
        # By fields, the bytes before and after the key in the command that reads them.
        self._around: dict[tuple[str, ...], tuple[bytes, bytes]] = {}

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._pipe is not None

    async def open(self) -> None:
        """Connect, and keep reconnecting; return after the first attempt, successful or not."""
        self._down_since = asyncio.get_running_loop().time()
        first_try = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep(first_try))
        await first_try.wait()

    async def close(self) -> None:
        """Disconnect."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        if self._pipe is not None:
            self._pipe.abort()
            self._pipe = None

    async def fetch(self, keys: Sequence[str], fields: Sequence[tuple[str, ...]]) -> list[Fields]:
        """See `RowSource`."""
        if not keys:
            return []
        command = self._commands(keys, fields)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        while True:
            pipe = self._pipe or await self._connected(deadline)
            # Abort a hung connection: its late replies must not be taken for those of another read.
            watchdog = loop.call_at(deadline, pipe.abort)
            try:
                replies = await pipe.send(command, len(keys))
            except _ConnectionLost:
                if loop.time() >= deadline:
                    raise Unavailable(f"store: no answer in {self._timeout} s") from None
                if self._pipe is pipe:
                    self._lost()
                continue
            finally:
                watchdog.cancel()
            return [_fields(reply, names) for reply, names in zip(replies, fields, strict=True)]

    async def _connected(self, deadline: float) -> _Pipe:
        loop = asyncio.get_running_loop()
        # Wait only at the beginning of an outage.
        wait_s = min(deadline, self._down_since + self._timeout) - loop.time()
        if wait_s > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._up.wait()
        if self._pipe is None:
            raise Unavailable("store: not connected")
        return self._pipe

    def _commands(self, keys: Sequence[str], fields: Sequence[tuple[str, ...]]) -> bytes:
        parts = []
        for key, names in zip(keys, fields, strict=True):
            around = self._around.get(names)
            if around is None:
                head = b"*%d\r\n$5\r\nHMGET\r\n" % (len(names) + 2)
                around = self._around[names] = (head, b"".join(_bulk(field) for field in names))
            data = key.encode()
            parts.append(b"%b$%d\r\n%b\r\n%b" % (around[0], len(data), data, around[1]))
        return b"".join(parts)

    async def _keep(self, first_try: asyncio.Event) -> None:
        while True:
            try:
                async with asyncio.timeout(self._timeout):
                    self._pipe = pipe = await _connect(self._url)
            except (OSError, TimeoutError, _ConnectionLost, hiredis.ReplyError) as error:
                if not first_try.is_set():
                    _log.warning("store_down", error=repr(error))
                first_try.set()
                await asyncio.sleep(self._retry)
                continue
            self._up.set()
            first_try.set()
            await pipe.lost
            self._lost()

    def _lost(self) -> None:
        if self._pipe is not None:
            self._pipe = None
            self._up.clear()
            self._down_since = asyncio.get_running_loop().time()
            _log.warning("store_connection_lost")


def _fields(reply: Any, fields: tuple[str, ...]) -> Fields:
    """Return the fields of a hash; if the key holds another type, return bytes that the kernel refuses as rows."""
    if not isinstance(reply, hiredis.ReplyError):
        return reply  # type: ignore[no-any-return]
    if str(reply).startswith("WRONGTYPE"):
        return [b""] * len(fields)
    raise Unavailable(f"store: {reply}")


async def _connect(url: str) -> _Pipe:
    """Connect, authenticate, select the database, and wait for an answer."""
    parts = parse_url(url)
    loop = asyncio.get_running_loop()
    if "path" in parts:
        _, pipe = await loop.create_unix_connection(_Pipe, parts["path"])
    else:
        secure = ssl.create_default_context() if url.startswith("rediss:") else None
        _, pipe = await loop.create_connection(
            _Pipe, parts.get("host", "localhost"), parts.get("port", 6379), ssl=secure
        )
    greeting: list[list[str]] = []
    if parts.get("password"):
        user = [parts["username"]] if parts.get("username") else []
        greeting.append(["AUTH", *user, parts["password"]])
    if parts.get("db"):
        greeting.append(["SELECT", str(parts["db"])])
    greeting.append(["PING"])
    data = b"".join(b"*%d\r\n" % len(command) + b"".join(_bulk(word) for word in command) for command in greeting)
    try:
        for reply in await pipe.send(data, len(greeting)):
            if isinstance(reply, hiredis.ReplyError):
                raise reply
    except BaseException:
        pipe.abort()
        raise
    return pipe


def _bulk(text: str) -> bytes:
    data = text.encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)
