"""The number of messages of each partition that are not read yet."""

from __future__ import annotations

import time
from collections.abc import Callable

from headrace.engine.kernel.partition import PartitionId
from headrace.runtime.pulsar.consumer import PartitionConsumer
from headrace.wire.position import Position

#: Seconds between two requests to the broker, while something is unread and while nothing is.
_BUSY_S, _QUIET_S = 1.0, 15.0


class UnreadCounts:
    """The number of unread messages per partition, asked of the broker at intervals."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._consumers: dict[PartitionId, PartitionConsumer] = {}
        self._counts: dict[PartitionId, tuple[float, int]] = {}

    def watch(self, partition: PartitionId, consumer: PartitionConsumer) -> None:
        """Ask this consumer from now on."""
        self._consumers[partition] = consumer
        self._counts.pop(partition, None)

    def count(self, partition: PartitionId, done: Position | None, busy: bool) -> int:
        """Return how many messages follow what was read, or follow `done` if another process owns the partition.

        Parameters
        ----------
        busy
            Whether events are arriving; the broker is then asked more often.
        """
        consumer = self._consumers.get(partition)
        if consumer is None:
            return 0
        at, unread = self._counts.get(partition, (float("-inf"), 0))
        now = self._clock()
        if now - at >= (_BUSY_S if busy or unread else _QUIET_S):
            unread = consumer.unread(done)
            self._counts[partition] = now, unread
        return unread
