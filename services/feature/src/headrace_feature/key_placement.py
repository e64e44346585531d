"""The check that events are on the partition of their key."""

from __future__ import annotations

import structlog

from headrace.definition import StreamDefinition
from headrace.engine.events import EventColumns
from headrace.engine.kernel.preparation import texts_of
from headrace.runtime.pulsar.routing import partition_of
from headrace.runtime.redis.status import Heartbeat

_log = structlog.get_logger()

#: Maximum number of events of a batch that are checked: a hash of a new key costs as much as folding its event.
CHECKED = 64


class KeyPlacement:
    """Counts events that are on another partition than that of their key, and warns once for each stream.

    Their producer hashes keys differently: clients in Java and Go use Java's own hash by default. An event that is sent
    through two such producers counts twice, because its id is only known to the owner of one partition.
    """

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self._warned: set[str] = set()

    def check(self, stream: StreamDefinition, partition: int, events: EventColumns) -> None:
        """Check events of a partition, evenly spaced over the batch if there are many."""
        if stream.partitions == 1:
            return
        keys = texts_of(events.fields[stream.key][:: 1 + len(events) // CHECKED])
        misplaced = [key for key in keys if key and partition_of(key, stream.partitions) != partition]
        if not misplaced:
            return
        self._heartbeat.count("misplaced", len(misplaced))
        if stream.name not in self._warned:
            self._warned.add(stream.name)
            _log.warning(
                "key_on_wrong_partition",
                stream=stream.name,
                partition=partition,
                key=misplaced[0][:80],
                expected=partition_of(misplaced[0], stream.partitions),
                cure="let its producer hash keys by Murmur3_32Hash: see docs/topics.md",
            )
