"""The scorer's published status: counters, watermark and versions, once a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import redis

from headrace.definition import LoopDefinition
from headrace.engine.kernel.partition import PartitionId
from headrace.errors import Unavailable
from headrace.runtime.redis.partitions import PartitionStore
from headrace.runtime.redis.status import Heartbeat, Pace, ServiceStatus, StatusBoard
from headrace.watermark import UNKNOWN

#: Seconds of silence, while others continue, after which a partition counts as another scorer's.
_MOVED_S = 5.0


class Progress:
    """The progress of all threads; each call is safe from any of them.

    Parameters
    ----------
    stir
        Called after something has been done.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, stir: Callable[[], None] = lambda: None) -> None:
        self.stir = stir
        self._lock = threading.Lock()
        self._clock = clock
        self._counters: dict[str, int] = {}
        self._watermarks: dict[str, tuple[int, float]] = {}

    def count(self, **counters: int) -> None:
        """Add to counters."""
        with self._lock:
            for name, by in counters.items():
                self._counters[name] = self._counters.get(name, 0) + by
        self.stir()

    def reached(self, partition: str, watermark: int) -> None:
        """Note that a partition of a features topic is scored up to an event time."""
        with self._lock:
            self._watermarks[partition] = watermark, self._clock()
        self.stir()

    @property
    def counters(self) -> dict[str, int]:
        """All counters, as they are now."""
        with self._lock:
            return dict(self._counters)

    @property
    def watermark(self) -> int | None:
        """The event time up to which all partitions of this process are scored; None if that is unknown.

        A partition that is silent for long while others continue has moved to another scorer.
        """
        with self._lock:
            last = max((moment for _, moment in self._watermarks.values()), default=0.0)
            result = min(
                (watermark for watermark, moment in self._watermarks.values() if last - moment < _MOVED_S),
                default=UNKNOWN,
            )
        return result if result > UNKNOWN else None


class Rebuild:
    """Whether rows are being remade: polled from time to time, returned at once."""

    def __init__(self, loop: LoopDefinition) -> None:
        self._loop = loop.name
        streams = {view.stream for view in loop.views}
        self._partitions = [
            PartitionId(stream.name, index)
            for stream in loop.streams
            if stream.name in streams
            for index in range(stream.partitions)
        ]
        self._under_way = False

    def look(self, store: redis.Redis) -> None:
        """Read it from the store."""
        self._under_way = bool(PartitionStore(store, self._loop).rebuilding(self._partitions))

    def is_under_way(self) -> bool:
        """Return what was last read."""
        return self._under_way


class StatusThread(threading.Thread):
    """A thread that publishes the status at each beat, and skips a beat while the store is down.

    Parameters
    ----------
    refresh
        Updates the status.
    look
        Reads what else is needed from the store.
    pace
        Decides when the next beat is.
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
        """Publish until it is stopped."""
        while True:
            self._refresh(self._heartbeat.status)
            with suppress(redis.RedisError, Unavailable):
                self._look(self._store)
                self._heartbeat.beat()
            if not self._pace.wait():
                return

    def stop(self) -> None:
        """Stop, and remove the service from the board."""
        self._pace.end()
        self.join()
        with suppress(redis.RedisError):
            self._heartbeat.end()
        self._store.close()
