"""What the scorer tells of itself: counters, frontier, versions, once a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import redis

from headrace.definition import LoopDefinition
from headrace.errors import Unavailable
from headrace.frontier import UNKNOWN
from headrace.kernel.partition import PartitionId
from headrace.store.partitions import PartitionStore
from headrace.store.status import Heartbeat, Pace, ServiceStatus, StatusBoard

#: Seconds of silence, while others go on, after which a partition counts as another scorer's.
_MOVED_S = 5.0


class Progress:
    """What the threads have done; each call is safe from any of them.

    Parameters
    ----------
    stir
        Called when something has been done.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, stir: Callable[[], None] = lambda: None) -> None:
        self.stir = stir
        self._lock = threading.Lock()
        self._clock = clock
        self._counters: dict[str, int] = {}
        self._frontiers: dict[str, tuple[int, float]] = {}

    def count(self, **counters: int) -> None:
        """Add to counters."""
        with self._lock:
            for name, by in counters.items():
                self._counters[name] = self._counters.get(name, 0) + by
        self.stir()

    def reached(self, partition: str, frontier: int) -> None:
        """A partition of a features topic is scored up to an event time."""
        with self._lock:
            self._frontiers[partition] = frontier, self._clock()
        self.stir()

    @property
    def counters(self) -> dict[str, int]:
        """All counters, as of now."""
        with self._lock:
            return dict(self._counters)

    @property
    def frontier(self) -> int | None:
        """The event time up to which every partition is scored that is this process's; None where that is unknown.

        One that nothing was heard of for long while others go on has moved to another scorer.
        """
        with self._lock:
            last = max((heard for _, heard in self._frontiers.values()), default=0.0)
            least = min((own for own, heard in self._frontiers.values() if last - heard < _MOVED_S), default=UNKNOWN)
        return least if least > UNKNOWN else None


class Rebuild:
    """Whether rows are being made again: seen now and then, told at once."""

    def __init__(self, loop: LoopDefinition) -> None:
        self._loop = loop.name
        streams = {view.stream for view in loop.views}
        self._partitions = [
            PartitionId(own.name, index)
            for own in loop.streams
            if own.name in streams
            for index in range(own.partitions)
        ]
        self._under_way = False

    def look(self, store: redis.Redis) -> None:
        """Ask the store."""
        self._under_way = bool(PartitionStore(store, self._loop).rebuilding(self._partitions))

    def is_under_way(self) -> bool:
        """As it was last seen."""
        return self._under_way


class StatusThread(threading.Thread):
    """Publishes the status at each beat; a store that is down is passed over.

    Parameters
    ----------
    refresh
        Brings the status up to date.
    look
        What else is to be seen in the store.
    pace
        When it does so.
    """

    def __init__(
        self,
        url: str,
        loop: str,
        status: ServiceStatus,
        refresh: Callable[[ServiceStatus], None],
        look: Callable[[redis.Redis], None],
        pace: Pace,
    ) -> None:
        super().__init__(name="status", daemon=True)
        self._store = redis.Redis.from_url(url, protocol=2, socket_timeout=1, socket_connect_timeout=1)
        self._heartbeat = Heartbeat(StatusBoard(self._store, loop), status)
        self._refresh = refresh
        self._look = look
        self._pace = pace

    def run(self) -> None:
        """Until stopped."""
        while True:
            self._refresh(self._heartbeat.status)
            with suppress(redis.RedisError, Unavailable):
                self._look(self._store)
                self._heartbeat.beat()
            if not self._pace.wait():
                return

    def stop(self) -> None:
        """Take the service off the board."""
        self._pace.end()
        self.join()
        with suppress(redis.RedisError):
            self._heartbeat.end()
        self._store.close()
