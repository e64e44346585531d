"""The events of a loop's streams, as the owners of their partitions accepted them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from headrace.definition import LoopDefinition
from headrace.engine.events import EventColumns, StreamCodec
from headrace.engine.kernel.partition import Partition, PartitionId, Progress, Waiting
from headrace.errors import CorruptState
from headrace.history.alterations import NONE, Alterations
from headrace.history.logs import Logs
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.dead_letters import read_dead_letter
from headrace.watermark import ENDED
from headrace.wire.position import Position
from headrace.wire.topics import Topics

_FEATURE = "feature"


class StreamHistory:
    """Reads partitions of a loop's streams: events that were refused or sent before are left out.

    Parameters
    ----------
    on_events
        Called with a stream and the number of events read from it.
    """

    def __init__(
        self,
        logs: Logs,
        topics: Topics,
        loop: LoopDefinition,
        on_events: Callable[[str, int], None] = lambda stream, count: None,
    ) -> None:
        self._logs = logs
        self._topics = topics
        self._loop = loop
        self._on_events = on_events
        self._refused: set[tuple[str, bytes]] | None = None
        #: By partition, the first position that its log still retains.
        self.begins: dict[PartitionId, Position] = {}

    def read(self, source: PartitionId, alterations: Alterations = NONE) -> Iterator[Waiting]:
        """Yield the events of a partition in order, in batches.

        Raises
        ------
        CorruptState
            The topic's number of partitions is not that of the definition.
        Unavailable
            The broker does not answer.
        """
        stream = self._loop.stream(source.stream)
        codec, partition = StreamCodec(stream), Partition(stream, Progress(), {}, ())
        for batch in self._logs.read(self._topic(source)):
            self.begins.setdefault(source, batch.positions[0])
            payloads = [payload for payload in batch.payloads if payload]
            positions = [position for position, payload in zip(batch.positions, batch.payloads, strict=True) if payload]
            events, valid, _ = codec.columns(payloads)
            if alterations:
                events, valid = alterations.apply(codec, payloads, events, valid)
            self._accept(partition, events, [positions[place] for place in valid])
            self._on_events(source.stream, len(positions))
            if partition.waiting is not None:
                yield partition.waiting
                partition.waiting = None

    def partitions(self, stream: str) -> list[PartitionId]:
        """Return the partitions of a stream, in order."""
        return [PartitionId(stream, index) for index in range(self._loop.stream(stream).partitions)]

    def _accept(self, partition: Partition, events: EventColumns, positions: list[Position]) -> None:
        """Accept events as their owner did; those that failed its other checks are among the dead letters."""
        refused = self._refusals()
        stream, rows = partition.stream.name, list(range(len(positions)))
        if refused:
            rows = [row for row in rows if (stream, positions[row].to_bytes()) not in refused]
        if len(rows) < len(positions):
            events, positions = events.take(rows), [positions[row] for row in rows]
        # With `ENDED` as its publish time, no event is too far ahead.
        partition.accept(events, positions, [ENDED] * len(positions))
        partition.forget_ids()

    def _topic(self, source: PartitionId) -> str:
        physical = self._logs.partitions(self._topics.stream(source.stream))
        count = self._loop.stream(source.stream).partitions
        if len(physical) != count:
            raise CorruptState(
                f"stream {source.stream!r} has {len(physical)} partitions at the broker, the definition says {count}"
            )
        return physical[source.partition]

    def _refusals(self) -> set[tuple[str, bytes]]:
        """Return the refusals of the feature service, by stream and position."""
        if self._refused is None:
            self._refused = set()
            for physical in self._logs.partitions(self._topics.dead_letters):
                for batch in self._logs.read(physical):
                    self._refused.update(_refused_positions(batch))
        return self._refused


def _refused_positions(batch: Batch) -> Iterator[tuple[str, bytes]]:
    for payload in batch.payloads:
        letter = read_dead_letter(payload)
        if letter.service == _FEATURE and letter.position:
            yield letter.stream, letter.position
