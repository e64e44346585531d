"""Reading messages of a stream: its events, those that are invalid, and the marks and ends between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter

import structlog

from headrace.errors import InvalidEvent
from headrace.events import EventColumns, StreamCodec
from headrace.frontier import RESTING, UNKNOWN
from headrace.kernel.partition import Partition, Refused
from headrace.kernel.trial import Trial
from headrace.log.batch import Batch
from headrace.log.position import Position
from headrace.log.topics import CALL, END, MARK, WAKE

_log = structlog.get_logger()


class Decoded:
    """A run of messages of one partition: events, or one mark or end.

    Attributes
    ----------
    calls
        By row the call that sent the event and wants to know what was decided; empty where none does.
    mark
        The time of a mark; None where these are events or an end.
    """

    def __init__(self, positions: list[Position], payloads: list[bytes], published: list[int]) -> None:
        self.positions = positions
        self.payloads = payloads
        self.published = published
        self.calls: Sequence[str | None] = ()
        self.mark: int | None = None
        self.end = False
        self.events: EventColumns
        self.valid: list[int] = []
        self.invalid: list[tuple[int, InvalidEvent]] = []

    def accepted_by(self, partition: Partition, now: int = 0) -> list[Refused] | None:
        """Give it to a partition; returns the refused ones of the valid events, None for a mark or an end."""
        if self.end:
            partition.end(self.positions[-1])
            return None
        if self.mark is not None:
            partition.mark(self.mark, self.positions[-1])
            return None
        positions = [self.positions[row] for row in self.valid]
        refused = partition.accept(self.events, positions, [self.published[row] for row in self.valid], now)
        partition.last = self.positions[-1]  # also if the last message is invalid
        return refused


def decode(codec: StreamCodec, trial: Trial, batch: Batch) -> list[Decoded]:
    """Split a batch at its marks and ends and read the events between them."""
    runs: list[Decoded] = []
    start = 0
    for index, properties in enumerate(batch.properties):
        if not properties:
            continue
        mark, end = _mark(properties), END in properties
        if mark is None and not end:
            continue
        # An event may carry a mark of what follows it.
        stop = index + 1 if batch.payloads[index] else index
        if stop > start:
            runs.append(_events(codec, trial, batch, start, stop))
        note = Decoded([batch.positions[index]], [b""], [batch.published[index]])
        note.mark, note.end = mark, end
        runs.append(note)
        start = index + 1
    if start < len(batch):
        runs.append(_events(codec, trial, batch, start, len(batch)))
    return runs


def _mark(properties: Mapping[str, str]) -> int | None:
    """The time of a mark; a message whose mark is not a number is read as an event."""
    if WAKE in properties:
        return UNKNOWN
    try:
        return min(int(properties[MARK]), RESTING - 1)
    except (KeyError, ValueError):
        return None


def _events(codec: StreamCodec, trial: Trial, batch: Batch, start: int, end: int) -> Decoded:
    run = Decoded(batch.positions[start:end], batch.payloads[start:end], batch.published[start:end])
    calls = [properties.get(CALL) for properties in batch.properties[start:end]]
    run.calls = calls if any(calls) else ()
    run.events, run.valid, run.invalid = codec.columns(run.payloads)
    poison = trial.failures(run.events)
    if poison:
        _log.warning("poison", stream=codec.stream.name, events=len(poison), reason=str(next(iter(poison.values()))))
        run.invalid = sorted([*run.invalid, *((run.valid[row], why) for row, why in poison.items())], key=itemgetter(0))
        kept = [row for row in range(len(run.events)) if row not in poison]
        run.events, run.valid = run.events.take(kept), [run.valid[row] for row in kept]
    return run
