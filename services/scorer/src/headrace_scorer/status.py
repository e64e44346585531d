"""The scorer's status: counters, watermark and versions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from headrace.definition import LoopDefinition
from headrace.engine.kernel.partition import PartitionId
from headrace.runtime.redis.connection import connect_without_retries
from headrace.runtime.redis.partitions import PartitionStore
from headrace.runtime.redis.status import ServiceStatus, TakeoverStatus
from headrace.watermark import UNKNOWN
from headrace.wire.times import to_status
from headrace_scorer.versions import Versions

#: Seconds of silence, while others continue, after which a partition counts as another scorer's.
_MOVED_S = 5.0


class ScoringProgress:
    """The progress of all threads; each call is safe from any of them.

    Parameters
    ----------
    on_change
        Called after each change.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._on_change = on_change
        self._lock = threading.Lock()
        self._clock = clock
        self._counters: dict[str, int] = {}
        self._watermarks: dict[str, tuple[int, float]] = {}

    def count(self, **counters: int) -> None:
        """Add to counters."""
        with self._lock:
            for name, by in counters.items():
                self._counters[name] = self._counters.get(name, 0) + by
        self._on_change()

    def reached(self, partition: str, watermark: int) -> None:
        """Note that a partition of a features topic is scored up to an event time."""
        with self._lock:
            self._watermarks[partition] = watermark, self._clock()
        self._on_change()

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

    def __init__(self, url: str, loop: LoopDefinition) -> None:
        # A store that hangs must not hold up the status for long.
        store = connect_without_retries(url, 1.0)
        self._store = PartitionStore(store, loop.name)
        streams = {view.stream for view in loop.views}
        self._partitions = [
            PartitionId(stream.name, index)
            for stream in loop.streams
            if stream.name in streams
            for index in range(stream.partitions)
        ]
        self._under_way = False

    def look(self) -> None:
        """Read it from the store.

        Raises
        ------
        Unavailable
            The store does not answer.
        """
        self._under_way = bool(self._store.rebuilding(self._partitions))

    def is_under_way(self) -> bool:
        """Return what was last read."""
        return self._under_way


def report(status: ServiceStatus, progress: ScoringProgress, versions: Versions, counters: Mapping[str, int]) -> None:
    """Update the status of a scorer; `counters` are those of its requests."""
    status.counters = {"predictions": 0, "unscored": 0, **progress.counters, **counters}
    status.watermark = to_status(progress.watermark)
    status.versions = versions.examples()
    takeovers = ((model.name, versions.takeover(model.name)) for model in versions.models)
    status.takeovers = {
        name: TakeoverStatus(**takeover._asdict()) for name, takeover in takeovers if takeover is not None
    }
