"""Decoding of a stream's messages: events, invalid events, and the marks and ends between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter

import structlog

from headrace.definition import LoopDefinition
from headrace.engine.events import EventColumns, StreamCodec
from headrace.engine.kernel.partition import Partition, Refused
from headrace.engine.kernel.trial import Trial
from headrace.engine.marks import Mark, mark_of
from headrace.errors import InvalidEvent
from headrace.runtime.pulsar.batch import Batch
from headrace.wire.position import Position
from headrace.wire.topics import CALL, END, WAKE

_log = structlog.get_logger()


class Decoded:
    """A run of messages of one partition: events, or one message that only says something about them.

    Attributes
    ----------
    calls
        By row, the call that sent the event and waits for the decision; empty if none does.
    mark
        The mark, if this is one.
    """

    def __init__(self, positions: list[Position], payloads: list[bytes], published: list[int]) -> None:
        self.positions = positions
        self.payloads = payloads
        self.published = published
        self.calls: Sequence[str | None] = ()
        self.mark: Mark | None = None
        self.end = self.wake = False
        self.events: EventColumns
        self.valid: list[int] = []
        self.invalid: list[tuple[int, InvalidEvent]] = []

    @property
    def is_note(self) -> bool:
        """Whether this is a message about events, without any event of its own."""
        return self.mark is not None or self.end or self.wake

    def accepted_by(self, partition: Partition, now: int = 0) -> list[Refused] | None:
        """Apply it to a partition; return what is refused, None if it holds no events and was accepted."""
        if self.mark is not None:
            reason = partition.mark(self.mark, self.positions[-1], self.published[-1])
            return None if reason is None else [Refused(0, reason)]
        if self.end or self.wake:
            (partition.end if self.end else partition.wake)(self.positions[-1])
            return None
        positions = [self.positions[row] for row in self.valid]
        refusals = partition.accept(self.events, positions, [self.published[row] for row in self.valid], now)
        partition.last = self.positions[-1]  # also if the last message is invalid
        return refusals


def warm(loop: LoopDefinition) -> None:
    """Compute with no event of each stream, so that the first events do not wait while compiled code is loaded."""
    for stream in loop.streams:
        events, _, _ = StreamCodec(stream).columns([])
        Trial(loop, stream.name).failures(events)


def decode(codec: StreamCodec, trial: Trial, batch: Batch) -> list[Decoded]:
    """Split a batch at its marks and ends, and decode the events between them."""
    runs: list[Decoded] = []
    start = 0
    for index, properties in enumerate(batch.properties):
        if not properties:
            continue
        mark, end, wake = mark_of(properties), END in properties, WAKE in properties
        if mark is None and not (end or wake):
            continue
        # An event may also carry a mark for what follows it.
        stop = index + 1 if batch.payloads[index] else index
        if stop > start:
            runs.append(_events(codec, trial, batch, slice(start, stop)))
        runs += _notes(batch, index, None if wake else mark, end=end, wake=wake)
        start = index + 1
    if start < len(batch):
        runs.append(_events(codec, trial, batch, slice(start, len(batch))))
    return runs


def _notes(batch: Batch, index: int, mark: Mark | None, *, end: bool, wake: bool) -> Iterator[Decoded]:
    """Yield what a message says besides its event: a mark, and the end of a history or a wake-up."""
    kinds: list[tuple[Mark | None, bool, bool]] = [(mark, False, False)] if mark is not None else []
    kinds += [(None, end, wake)] if end or wake else []
    for kind in kinds:
        note = Decoded([batch.positions[index]], [b""], [batch.published[index]])
        note.mark, note.end, note.wake = kind
        note.valid = [0]
        yield note


def _events(codec: StreamCodec, trial: Trial, batch: Batch, rows: slice) -> Decoded:
    run = Decoded(batch.positions[rows], batch.payloads[rows], batch.published[rows])
    calls = [properties.get(CALL) for properties in batch.properties[rows]]
    run.calls = calls if any(calls) else ()
    run.events, run.valid, run.invalid = codec.columns(run.payloads)
    poison = trial.failures(run.events)
    if poison:
        _log.warning(
            "poison_events_refused",
            stream=codec.stream.name,
            events=len(poison),
            reason=str(next(iter(poison.values()))),
        )
        run.invalid = sorted(
            [*run.invalid, *((run.valid[row], error) for row, error in poison.items())], key=itemgetter(0)
        )
        sound = [row for row in range(len(run.events)) if row not in poison]
        run.events, run.valid = run.events.take(sound), [run.valid[row] for row in sound]
    return run
