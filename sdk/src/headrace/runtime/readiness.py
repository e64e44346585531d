"""Readiness: whether the servers that a service depends on can be reached.

A service registers its broker and its store as `Dependency`, and `Dependencies` probes each in its own thread. The
health check (`headrace.runtime.grpc.server`) and the status say what is unreachable, with its address.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from headrace.errors import Unavailable
from headrace.wording import public_address as public_address

_log = structlog.get_logger()
_Built = TypeVar("_Built")

#: Seconds between two probes of a server that answers.
PERIOD = 2.0

#: Seconds that a service waits at its end for a probe under way.
_GRACE = 5.0


@dataclass
class Backoff:
    """Delays between retries: each is twice the one before, up to `longest`."""

    first: float = 0.25
    longest: float = 5.0
    _next: float = field(default=0.0, init=False)

    def next(self) -> float:
        """Return the seconds to wait before the next retry."""
        self._next = min(max(2 * self._next, self.first), self.longest)
        return self._next

    def reset(self) -> None:
        """Start again with the first delay."""
        self._next = 0.0


@dataclass(frozen=True)
class Dependency:
    """A server that a service needs.

    Attributes
    ----------
    name
        Its role in the service: ``broker``, ``store``.
    address
        Where it is expected, without credentials.
    probe
        Asks it for an answer; an exception means that it is unreachable, and says why.
    """

    name: str
    address: str
    probe: Callable[[], None]


@dataclass(frozen=True)
class Unreachable:
    """A dependency that does not answer, and the reason."""

    name: str
    address: str
    reason: str

    def __str__(self) -> str:
        return f"cannot reach the {self.name} at {self.address}: {self.reason}"


class Watch:
    """A watch on one dependency: it probes it, and logs each change and each failed retry."""

    def __init__(
        self, dependency: Dependency, period: float = PERIOD, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.dependency = dependency
        self.reason: str | None = "not probed yet"
        self.muted = False
        self._period = period
        self._clock = clock
        self._backoff = Backoff()
        self._since: float | None = None

    def probe(self) -> float:
        """Probe once; return the seconds until the next probe is due."""
        try:
            self.dependency.probe()
        except Exception as error:
            return self._note_failure(str(error) or type(error).__name__)
        self._note_answer()
        return self._period

    def _note_failure(self, reason: str) -> float:
        delay = self._backoff.next()
        if self._since is None:
            self._since = self._clock()
        self.reason = reason
        if not self.muted:
            name, address = self.dependency.name, self.dependency.address
            _log.warning(f"{name}_unreachable", address=address, reason=reason, for_s=self._for_s(), retry_s=delay)
        return delay

    def _note_answer(self) -> None:
        if self.reason is not None:
            _log.info(f"{self.dependency.name}_reachable", address=self.dependency.address, after_s=self._for_s())
        self._backoff.reset()
        self._since = self.reason = None

    def _for_s(self) -> float:
        return 0.0 if self._since is None else round(self._clock() - self._since, 1)


class Dependencies:
    """The servers that a service needs, each watched from `start` to `stop`."""

    def __init__(self, *dependencies: Dependency, period: float = PERIOD) -> None:
        self.watches = tuple(Watch(dependency, period) for dependency in dependencies)
        self._callbacks: list[Callable[[], None]] = []
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, args=(watch,), name=f"watch {watch.dependency.name}", daemon=True)
            for watch in self.watches
        ]

    def start(self) -> None:
        """Start probing; until its first answer, each dependency counts as unreachable."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop probing and logging: the service closes its clients."""
        self._stopping.set()
        for watch in self.watches:
            watch.muted = True

    def join(self) -> None:
        """Wait for the probes under way, after the clients that they use are closed.

        A thread that returns from the broker's client while the interpreter shuts down aborts the process.
        """
        deadline = time.monotonic() + _GRACE
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(deadline - time.monotonic(), 0.0))

    def notify(self, callback: Callable[[], None]) -> None:
        """Call `callback` from a watching thread after each change of what is reachable."""
        self._callbacks.append(callback)

    def unreachable(self, names: Iterable[str] | None = None) -> tuple[Unreachable, ...]:
        """List the dependencies that do not answer, among these names or all."""
        subset = None if names is None else set(names)
        return tuple(
            Unreachable(watch.dependency.name, watch.dependency.address, reason)
            for watch in self.watches
            if (reason := watch.reason) is not None and (subset is None or watch.dependency.name in subset)
        )

    def state(self) -> str:
        """Return the state of a service that has started, for its status."""
        return "waiting" if self.unreachable() else "ready"

    def note(self, note: str = "") -> str:
        """Return a note for the status that names what is unreachable, followed by the service's own."""
        return "; ".join([*map(str, self.unreachable()), *([note] if note else [])])

    async def reachable(self, stop: asyncio.Event, names: Sequence[str] | None = None) -> bool:
        """Wait until these dependencies (all by default) answer; return False if `stop` is set first."""
        loop, change = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            call_in(loop, change.set)

        self.notify(wake)
        try:
            while self.unreachable(names) and not stop.is_set():
                await _first_of(change, stop)
                change.clear()
        finally:
            self._callbacks.remove(wake)
        return not stop.is_set()

    def _watch(self, watch: Watch) -> None:
        while not self._stopping.is_set():
            before = watch.reason is None
            delay = watch.probe()
            if (watch.reason is None) != before:
                for callback in tuple(self._callbacks):
                    callback()
            self._stopping.wait(delay)


async def start_when_reachable(
    dependencies: Dependencies,
    build: Callable[[], _Built],
    stop: asyncio.Event,
    names: Sequence[str] | None = None,
) -> _Built | None:
    """Run `build` in a thread once its dependencies answer, and again after `Unavailable`.

    Parameters
    ----------
    names
        The dependencies that it needs; all if None.

    Returns
    -------
    object or None
        The result of `build`; None if `stop` is set first.
    """
    delays = Backoff()
    while await dependencies.reachable(stop, names):
        try:
            return await asyncio.to_thread(build)
        except Unavailable as error:
            delay = delays.next()
            _log.warning("start_postponed", reason=str(error), retry_s=delay)
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await stop.wait()
    return None


def call_in(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Run `call` on an event loop, from another thread."""
    try:
        loop.call_soon_threadsafe(call)
    except RuntimeError:
        return  # the event loop has ended before the watching thread


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
