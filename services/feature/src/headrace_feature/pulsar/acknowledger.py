"""The acknowledger: it acknowledges what the store has on disk, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from headrace.runtime.pulsar.consumer import PartitionConsumer
from headrace.runtime.redis.partitions import Durability
from headrace.wire.position import Position


class Acknowledger:
    """Acknowledgements at the broker for what workers have saved, once it is durable.

    One wait for the disk covers everything that was saved before it, off the workers' thread.
    """

    def __init__(self, durability: Durability) -> None:
        self._durability = durability
        self._consumers: dict[Hashable, PartitionConsumer] = {}
        self._positions: dict[Hashable, Position] = {}

    def add(self, source: Hashable, consumer: PartitionConsumer) -> None:
        """Acknowledge a source through this consumer."""
        self._consumers[source] = consumer

    def run(self, positions: Callable[[], Mapping[Hashable, Position]]) -> None:
        """Acknowledge what is saved now, once the store has it on disk."""
        snapshot = {
            source: position for source, position in positions().items() if self._positions.get(source) != position
        }
        if not snapshot or not self._durability.wait():
            return
        for source, position in snapshot.items():
            consumer = self._consumers.get(source)
            if consumer is not None:  # a join's state also names sources that are not open yet
                consumer.ack(position)
                self._positions[source] = position
