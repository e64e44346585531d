"""A partition of a label's stream, as a join reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from headrace.definition import LoopDefinition, ModelDefinition
from headrace.engine.events import StreamCodec
from headrace.engine.kernel.join import Outcome
from headrace.engine.kernel.labels import Labels
from headrace.engine.kernel.partition import Partition, Progress, remembered
from headrace.engine.kernel.trial import Trial
from headrace.engine.marks import Mark
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.redis.pairs import JoinState, LabelSource
from headrace.watermark import IDLE, UNKNOWN
from headrace.wire.position import START, Position
from headrace.wire.times import from_wire, to_wire
from headrace_feature.decoder import Decoded, decode


class LabelStream:
    """The stream of a model's label: how its messages are decoded, and which outcomes its events hold."""

    def __init__(self, loop: LoopDefinition, model: ModelDefinition) -> None:
        self._labels = Labels(loop, model)
        self.definition = self._labels.stream
        self._codec = StreamCodec(self.definition)
        self._trial = Trial(loop, self.definition.name)

    def decode(self, batch: Batch) -> list[Decoded]:
        """Decode a batch."""
        return decode(self._codec, self._trial, batch)

    def outcomes(self, part: Decoded, refused: set[int]) -> tuple[list[tuple[str, int]], list[tuple[str, Outcome]]]:
        """Return the ids to remember and the times of the events that were not refused, and their outcomes."""
        accepted = part.events.take([place for place in range(len(part.events)) if place not in refused])
        ids = zip(map(remembered, accepted.ids), accepted.times.tolist(), strict=True)
        return list(ids), self._labels.outcomes(accepted)


class LabelTopic:
    """A partition of the label's stream, from the join's takeover until it is given up.

    Parameters
    ----------
    number
        The number of the partition.
    ids
        The ids seen by earlier owners, oldest first, with their event times.

    Attributes
    ----------
    position
        Position of the last message read.
    partition
        Which events and marks count, as the fold decides it, too.
    decided_to
        The time up to which marks may decide questions, if the stream declares a bound for them.
    seen
        Event times of the ids that were seen since the last save; None: forget the id.
    """

    def __init__(
        self, name: str, number: int, stream: LabelStream, state: JoinState, *, ids: Mapping[str, int]
    ) -> None:
        self.name = name
        self.number = number
        self._stream = stream
        newest, watermark, ended = state.labels.get(name, LabelSource(None, None, False))
        self.partition = Partition(
            stream.definition,
            Progress(),
            dict(ids),
            (),
            newest=from_wire(newest),
            watermark=from_wire(watermark),
            ended=ended,
        )
        self.position = Position.from_bytes(state.positions.get(name, START.to_bytes()))
        self.decided_to = state.upto.get(name, UNKNOWN)
        self.seen: dict[str, int | None] = {}
        self._moved: tuple[int | None, float] = (None, 0.0)

    @property
    def watermark(self) -> int:
        """The watermark, without held marks."""
        partition = self.partition
        if self._stream.definition.confirm_above is None:
            return partition.watermark
        return min(partition.watermark, max(self.decided_to, partition.event_watermark))

    @property
    def release_watermark(self) -> int:
        """The time up to which the join need not wait for it: the watermark, or `IDLE` or `ENDED`."""
        return self.partition.release_watermark if self.partition.release_watermark >= IDLE else self.watermark

    def read(self, batch: Batch, note_mark: Callable[[LabelTopic, Mark], None]) -> Iterator[tuple[str, Outcome]]:
        """Read messages; yield the outcomes with the names of their entries. The fold refuses invalid events."""
        partition = self.partition
        for part in self._stream.decode(batch):
            refusals = part.accepted_by(partition)
            if part.mark is not None and refusals is None:
                note_mark(self, part.mark)
            if part.is_note or refusals is None:
                continue  # the fold writes the dead letter of a refused mark
            ids, outcomes = self._stream.outcomes(part, {place for place, _ in refusals})
            # Note all ids: an event without a label, or with another event's label, is also dropped when it is resent.
            self.seen.update(ids)
            yield from outcomes
            partition.waiting = None
        old_ids = [*partition.outdated_ids(), *(id for id in partition.evicted if id not in partition.seen)]
        self.seen.update(dict.fromkeys(old_ids))
        partition.forget_ids()
        partition.evicted.clear()

    def become_idle(self) -> None:
        """Hold nothing back until the next event or mark."""
        self.partition.become_idle()

    def save_to(self, state: JoinState) -> None:
        """Write the progress into the state to store."""
        partition = self.partition
        state.labels[self.name] = LabelSource(to_wire(partition.newest), to_wire(partition.watermark), partition.ended)
        if self._stream.definition.confirm_above is not None and self.decided_to > UNKNOWN:
            state.upto[self.name] = self.decided_to

    def moved_at(self, now: float) -> float:
        """Return when the watermark was first seen where it is; `now` if it has moved since the last call."""
        if self._moved[0] != self.watermark:
            self._moved = (self.watermark, now)
        return self._moved[1]
