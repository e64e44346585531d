"""Outputs that a loop has written, according to its logs: the progress of each partition and of each examples log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import pulsar

from headrace.definition import LoopDefinition, ModelDefinition, StreamDefinition
from headrace.engine.events import StreamCodec
from headrace.engine.kernel.partition import PartitionId, Progress
from headrace.runtime.pulsar.connection import partitions
from headrace.runtime.pulsar.dead_letters import read_dead_letter
from headrace.runtime.pulsar.log_reader import read_whole
from headrace.runtime.pulsar.messages import decoded, opened, pass_over
from headrace.wire.deduplication import Accepted
from headrace.wire.message import Message
from headrace.wire.position import START, Position
from headrace.wire.tables import last_sequence_of, made_for, positions_of
from headrace.wire.topics import Topics

#: Called with each topic that is read, and the number of its messages.
OnProgress = Callable[[str, int], None]


@dataclass
class Retained:
    """Extent of a partition's log.

    Attributes
    ----------
    end
        Its last position.
    oldest, newest
        Event times (µs) of its first and its last event; None if there is none.
    """

    end: Position = START
    oldest: int | None = None
    newest: int | None = None


class FormerVectors(NamedTuple):
    """The end of the vectors that a former definition of a model has left on a partition of its features topic.

    Attributes
    ----------
    position
        Position of the last message with such vectors.
    epoch
        Epoch of the owner that wrote it.
    event
        Position of the last event that had a vector then, of any definition.
    """

    position: Position
    epoch: int
    event: bytes


@dataclass
class Outputs:
    """Everything that a loop has written.

    Attributes
    ----------
    retained
        By partition, the extent of its log.
    epochs
        By partition, the newest epoch in its outputs.
    progress
        By partition, what has been written: vectors and dead letters.
    examples
        By model, the number of the next example and the newest epoch of its join.
    ends
        By physical topic (of vectors, of labels), its last position.
    former
        By physical topic of vectors, the end of those of a former definition; topics without any are left out.
    topics
        The physical topics of the streams.
    """

    retained: dict[PartitionId, Retained] = field(default_factory=dict)
    epochs: dict[PartitionId, int] = field(default_factory=dict)
    progress: dict[PartitionId, Progress] = field(default_factory=dict)
    examples: dict[str, tuple[int, int]] = field(default_factory=dict)
    ends: dict[str, Position] = field(default_factory=dict)
    former: dict[str, FormerVectors] = field(default_factory=dict)
    topics: list[str] = field(default_factory=list)


def read_outputs(client: pulsar.Client, loop: LoopDefinition, topics: Topics, on_progress: OnProgress) -> Outputs:
    """Read all of a loop's logs from beginning to end.

    Raises
    ------
    Unavailable
        The broker does not answer.
    """
    return _Reading(client, loop, topics, on_progress).run()


class _Reading:
    def __init__(self, client: pulsar.Client, loop: LoopDefinition, topics: Topics, on_progress: OnProgress) -> None:
        self._client = client
        self._loop = loop
        self._topics = topics
        self._on_progress = on_progress
        self._outputs = Outputs()
        self._emitted: dict[PartitionId, list[Position]] = {}

    def run(self) -> Outputs:
        refused = self._refused_positions()
        for stream in self._loop.streams:
            for index, topic in enumerate(partitions(self._client, self._topics.stream(stream.name))):
                self._read_stream(stream, PartitionId(stream.name, index), topic, refused)
        for model in self._loop.models:
            self._read_features(model)
            self._read_examples(model)
        return self._outputs

    def _refused_positions(self) -> dict[str, Position]:
        """Return, by physical topic, the last position for which the feature service has written a dead letter."""
        positions: dict[str, Position] = {}
        topic = self._topics.dead_letters
        for batch in read_whole(self._client, topic):
            for message in opened(batch, topic, pass_over):
                letter = read_dead_letter(message.payload)
                if letter.service == "feature" and letter.position:
                    position = Position.from_bytes(letter.position)
                    positions[letter.topic] = max(position, positions.get(letter.topic, START))
            self._on_progress(topic, len(batch))
        return positions

    def _read_stream(
        self, stream: StreamDefinition, partition: PartitionId, topic: str, refused: dict[str, Position]
    ) -> None:
        codec, extent = StreamCodec(stream), Retained()
        for batch in read_whole(self._client, topic, 5_000):
            extent.end = batch.positions[-1]
            events = [payload for payload in batch.payloads if payload]
            # The first and the last events show how far the log reaches.
            times = codec.columns(events[:100] + events[-100:])[0].times
            if len(times):
                extent.oldest = int(times.min()) if extent.oldest is None else extent.oldest
                extent.newest = int(times.max())
            self._on_progress(topic, len(batch))
        outputs = self._outputs
        outputs.ends[topic] = extent.end
        outputs.topics.append(topic)
        outputs.retained[partition] = extent
        outputs.epochs[partition] = 0
        outputs.progress[partition] = Progress(refused=refused.get(topic, START))

    def _read_features(self, model: ModelDefinition) -> None:
        for index, topic in enumerate(partitions(self._client, self._topics.features(model.name))):
            accepted = Accepted()
            self._outputs.ends[topic] = START
            for batch in read_whole(self._client, topic, 200):
                for message, positions in decoded(opened(batch, topic, pass_over), topic, _positions, pass_over):
                    # The definition does not matter: what was emitted has been written.
                    accepted.take(message.envelope.epoch or 0, positions)
                    is_current = accepted.epoch == (message.envelope.epoch or 0)
                    if positions and is_current and not made_for(model, message.envelope):
                        last = FormerVectors(message.position, accepted.epoch, accepted.position)
                        self._outputs.former[topic] = last
                self._outputs.ends[topic] = batch.positions[-1]
                self._on_progress(topic, len(batch))
            if model.vectors == "stream":
                self._is_out(PartitionId(model.stream, index), accepted)

    def _is_out(self, partition: PartitionId, accepted: Accepted) -> None:
        """Record a model's progress; the model furthest behind decides, as readers of the others drop duplicates."""
        self._emitted.setdefault(partition, []).append(Position.from_bytes(accepted.position))
        self._outputs.progress[partition].emitted = min(self._emitted[partition])
        self._outputs.epochs[partition] = max(self._outputs.epochs[partition], accepted.epoch)

    def _read_examples(self, model: ModelDefinition) -> None:
        sequence = epoch = 0
        topic = self._topics.examples(model.name)
        for batch in read_whole(self._client, topic, 16):
            for message, last in decoded(opened(batch, topic, pass_over), topic, _last_sequence, pass_over):
                epoch = max(epoch, message.envelope.epoch or 0)
                sequence = max(sequence, last + 1)
            self._on_progress(topic, len(batch))
        self._outputs.examples[model.name] = (sequence, epoch)


def _positions(message: Message) -> list[bytes]:
    return positions_of(message.payload) if message.payload else []


def _last_sequence(message: Message) -> int:
    return last_sequence_of(message.payload) if message.payload else -1
