"""A partition of a model's features topic, as a join reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from headrace.definition import ModelDefinition, StreamDefinition
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.messages import WrongMessage, decoded, opened
from headrace.runtime.redis.pairs import JoinState
from headrace.watermark import ENDED, IDLE
from headrace.wire.deduplication import Accepted
from headrace.wire.message import Message
from headrace.wire.position import START, Position
from headrace.wire.tables import Vectors, decode_vectors, made_for
from headrace.wire.times import from_wire, to_wire
from headrace_feature.entry_codec import pack_vector


class ArrivedVector(NamedTuple):
    """A vector that was read: the name of its entry, its event's id and time, and its values as bytes."""

    name: str
    id: str
    time: int
    vector: bytes


class FeaturesTopic:
    """A partition of the features topic, from the join's takeover until it is given up.

    Attributes
    ----------
    position
        Position of the last message read.
    watermark
        No vector before this time is still to come, in any case.
    missed
        Whether events have no vectors because the model was not in the loop when they came.
    release_watermark
        The time up to which the join need not wait for it: the watermark, or `IDLE` or `ENDED`.
    """

    def __init__(self, name: str, model: ModelDefinition, stream: StreamDefinition, state: JoinState) -> None:
        self.name = name
        self._model = model
        self._lateness = stream.lateness
        self._ahead = stream.ahead
        self._by_request = model.vectors == "requests"
        self.missed = False
        self._accepted = Accepted(*state.accepted.get(name, (0, START.to_bytes())))
        self.position = Position.from_bytes(state.positions.get(name, START.to_bytes()))
        # Requests have no watermark: they hold nothing back.
        self.watermark = from_wire(state.watermarks.get(name))
        self.release_watermark = IDLE if self._by_request else from_wire(state.release_watermarks.get(name))
        if self.release_watermark == IDLE and not self._by_request:
            # It was idle before the restart; more may have arrived since.
            self.release_watermark = self.watermark

    def read(self, batch: Batch, refuse: Callable[[WrongMessage], None]) -> Iterator[ArrivedVector]:
        """Read messages; yield the vectors that are new."""
        published = dict(zip(batch.positions, batch.published, strict=False))
        messages = decoded(opened(batch, self.name, refuse), self.name, self._decode, refuse)
        for message, vectors in messages:
            envelope = message.envelope
            is_new = not self._accepted.epoch
            if not made_for(self._model, envelope) or not self._accepted.mark(envelope.epoch or 0):
                continue
            if envelope.missed and not is_new:
                self._note_missed(envelope.missed)
            if vectors is not None:
                yield from self._take(envelope.epoch or 0, vectors)
            at = published.get(message.position, ENDED)
            if envelope.release_watermark is not None and self._can_be(envelope.release_watermark, at):
                self.release_watermark = envelope.release_watermark
            if envelope.watermark is not None and self._can_be(envelope.watermark, at):
                # A new owner may report an older watermark than its predecessor's last one, which still holds.
                self.watermark = max(self.watermark, envelope.watermark)

    def _note_missed(self, last: bytes) -> None:
        """Note that the events up to a position have no vectors, except those that have been taken."""
        if last > self._accepted.position:
            self.missed, self._accepted.position = True, last

    def become_idle(self) -> None:
        """Hold nothing back until the next vector or report."""
        self.release_watermark = max(self.release_watermark, IDLE)

    def save_to(self, state: JoinState) -> None:
        """Write the progress into the state to store."""
        state.accepted[self.name] = (self._accepted.epoch, self._accepted.position)
        state.watermarks[self.name] = to_wire(self.watermark)
        state.release_watermarks[self.name] = to_wire(self.release_watermark)

    def _decode(self, message: Message) -> Vectors | None:
        """Return the vectors of a message; None if it has none, or those of another definition."""
        has_vectors = message.payload and made_for(self._model, message.envelope)
        return decode_vectors(self._model, message.payload) if has_vectors else None

    def _can_be(self, watermark: int, published: int) -> bool:
        """Return whether the stream's `ahead` allows a watermark; one from before its declaration may exceed it."""
        return self._ahead is None or watermark >= IDLE or watermark <= published + self._ahead

    def _take(self, epoch: int, vectors: Vectors) -> Iterator[ArrivedVector]:
        times = vectors.times.tolist()
        if not self._by_request:
            # An idle source has resumed, and its next report may still be on its way.
            self.release_watermark = min(self.release_watermark, min(times, default=ENDED) - self._lateness)
        # A request has no position: the id of its vector alone identifies a repeat.
        rows = range(len(vectors)) if self._by_request else self._accepted.take(epoch, vectors.positions)
        for row in rows:
            vector = pack_vector(vectors.numbers[row], [column[row] for column in vectors.categories])
            id = vectors.ids[row]
            name = id if vectors.entities is None else vectors.entities[row]
            if name is not None:  # no event can answer a question without an entity
                yield ArrivedVector(name, id, times[row], vector)
