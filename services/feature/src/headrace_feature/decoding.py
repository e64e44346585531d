"""Reading messages of a stream: its events, those that are none, and the promises between them."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter

import structlog

from headrace.errors import InvalidEvent
from headrace.events import EventColumns, StreamCodec
from headrace.frontier import ENDED
from headrace.kernel.partition import Partition, Refused
from headrace.kernel.trial import Trial
from headrace.log.batch import Batch
from headrace.log.position import Position
from headrace.log.topics import FRONTIER

_log = structlog.get_logger()


class Decoded:
    """A run of messages of one partition: events, or one frontier marker."""

    def __init__(self, positions: list[Position], payloads: list[bytes], published: list[int]) -> None:
        self.positions = positions
        self.payloads = payloads
        self.published = published
        self.frontier: int | None = None
        self.events: EventColumns
        self.valid: list[int] = []
        self.invalid: list[tuple[int, InvalidEvent]] = []

    def accepted_by(self, partition: Partition, now: int) -> list[Refused]:
        """Have a partition take what is valid, and tell what it refused."""
        positions = [self.positions[row] for row in self.valid]
        return partition.accept(self.events, positions, [self.published[row] for row in self.valid], now)


def decode(codec: StreamCodec, trial: Trial, batch: Batch) -> list[Decoded]:
    """Split a batch at its frontier markers and read the events between them."""
    runs: list[Decoded] = []
    start = 0
    for index, properties in enumerate(batch.properties):
        frontier = _promised(properties)
        if frontier is None:
            continue
        # An event may carry a promise of what follows it.
        end = index + 1 if batch.payloads[index] else index
        if end > start:
            runs.append(_events(codec, trial, batch, start, end))
        marker = Decoded([batch.positions[index]], [b""], [batch.published[index]])
        marker.frontier = min(frontier, ENDED)
        runs.append(marker)
        start = index + 1
    if start < len(batch):
        runs.append(_events(codec, trial, batch, start, len(batch)))
    return runs


def _promised(properties: Mapping[str, str]) -> int | None:
    """The frontier that a message promises; what is no time promises nothing, and is read as an event."""
    try:
        return int(properties[FRONTIER])
    except (KeyError, ValueError):
        return None


def _events(codec: StreamCodec, trial: Trial, batch: Batch, start: int, end: int) -> Decoded:
    run = Decoded(batch.positions[start:end], batch.payloads[start:end], batch.published[start:end])
    run.events, run.valid, run.invalid = codec.columns(run.payloads)
    poison = trial.failures(run.events)
    if poison:
        _log.warning("poison", stream=codec.stream.name, events=len(poison), reason=str(next(iter(poison.values()))))
        run.invalid = sorted([*run.invalid, *((run.valid[row], why) for row, why in poison.items())], key=itemgetter(0))
        kept = [row for row in range(len(run.events)) if row not in poison]
        run.events, run.valid = run.events.take(kept), [run.valid[row] for row in kept]
    return run
