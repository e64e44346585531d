"""A TCP proxy on 127.0.0.1 with one link per service and server: each can be cut, silenced or slowed."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

_CHUNK = 65_536
_QUEUED = 64
HOST = "127.0.0.1"


class Link:
    """One route to a server.

    Attributes
    ----------
    port
        The port on which it listens.
    target
        The port of the server; may be set later, and change.
    """

    def __init__(self, proxy: Proxy, name: str) -> None:
        self.name = name
        self.port = 0
        self.target = 0
        self._proxy = proxy
        self._cut = False
        self._delay = 0.0
        self._open: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._server: asyncio.Server | None = None

    def cut(self) -> None:
        """Close open connections and refuse new ones."""
        self._proxy.call(self._close)

    def stall(self) -> None:
        """Keep connections open but forward nothing."""
        self._proxy.call(self._flowing.clear)

    def delay(self, seconds: float) -> None:
        """Forward everything with a delay, each way."""
        self._delay = seconds

    def heal(self) -> None:
        """Forward normally again."""
        self._cut, self._delay = False, 0.0
        self._proxy.call(self._flowing.set)

    async def listen(self) -> None:
        self._flowing.set()
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def end(self) -> None:
        """Stop listening and close open connections."""
        if self._server is not None:
            self._server.close()
        self._close()

    def _close(self) -> None:
        self._cut = True
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(HOST, self.target)
        except OSError:
            writer.transport.abort()
            return
        ends = (writer, back)
        self._open.update(ends)
        try:
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in ends:
                end.transport.abort()
                self._open.discard(end)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward until one end closes; data sent before still arrives."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED)
        sending = asyncio.ensure_future(self._send(queue, writer))
        clock = asyncio.get_running_loop().time
        try:
            while data := await reader.read(_CHUNK):
                await queue.put((clock() + self._delay, data))
        except OSError:
            pass
        await queue.put((0.0, b""))
        await sending
        raise ConnectionResetError

    async def _send(self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop().time
        broken = False
        while True:
            due, data = await queue.get()
            if not data:
                return
            if broken:
                continue
            if due > clock():
                await asyncio.sleep(due - clock())
            await self._flowing.wait()
            try:
                writer.write(data)
                await writer.drain()
            except OSError:
                broken = True


class Proxy:
    """Links with an event loop of their own; as a context manager it runs for the block."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def link(self, name: str, target: int = 0) -> Link:
        """Create a new link."""
        link = self._wait(self._make(name))
        link.target = target
        self.links.append(link)
        return link

    def close(self, link: Link) -> None:
        """End a link."""
        self.call(link.end)
        self.links.remove(link)

    def heal(self) -> None:
        """Heal all links."""
        for link in self.links:
            link.heal()

    def call(self, action: Callable[[], None]) -> None:
        """Run an action in the proxy's thread and wait for it."""

        async def run() -> None:
            action()

        self._wait(run())

    async def _make(self, name: str) -> Link:
        link = Link(self, name)
        await link.listen()
        return link

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for link in self.links:
            link.end()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        # A transport closes its socket one iteration of the loop after it was aborted.
        for _ in range(3):
            await asyncio.sleep(0)
