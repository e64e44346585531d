"""Faults of a partition's owner: which events count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from headrace.engine.events.columns import EventColumns
from headrace.engine.kernel.fold import Fold
from headrace.engine.kernel.partition import Partition, PartitionId, Progress, Refused
from headrace.engine.marks import Mark
from headrace.errors import InvalidEvent
from headrace.runtime.redis.decisions import _ACCEPTED, Decisions
from headrace.watermark import IDLE

_accept = Partition.accept


def _accepting(accept: Any) -> None:
    Partition.accept = accept  # type: ignore[method-assign]


def ids_forgotten_early() -> None:
    """Remember ids for one minute only."""
    Partition._id_memory = property(lambda self: 60_000_000)  # type: ignore[assignment]


def ids_forgotten_at_restart() -> None:
    """Start without ids when a partition is taken over."""
    original = Fold.own

    def own(self: Fold, partition: PartitionId, progress: Progress, seen: Mapping[str, int]) -> Partition:
        return original(self, partition, progress, {})

    Fold.own = own  # type: ignore[method-assign]


def late_before_repeated() -> None:
    """Refuse a repeat that is older than the watermark as late."""

    def judged(self: Partition, events: EventColumns, *arguments: Any, **options: Any) -> list[Refused]:
        late = [id for id, time in zip(events.ids, events.times.tolist(), strict=True) if time < self.watermark]
        held = {id: self.seen.pop(id) for id in dict.fromkeys(late) if id in self.seen}
        refused = _accept(self, events, *arguments, **options)
        self.seen = held | self.seen
        return refused

    _accepting(judged)


def _as_if(**limits: int | None) -> None:
    def judged(self: Partition, *arguments: Any, **options: Any) -> list[Refused]:
        declared, self.stream = self.stream, replace(self.stream, **limits)
        try:
            return _accept(self, *arguments, **options)
        finally:
            self.stream = declared

    _accepting(judged)


def lateness_ignored() -> None:
    """Refuse everything that is out of order."""
    _as_if(lateness=0)


def ahead_ignored() -> None:
    """Accept events of any time."""
    _as_if(ahead=None)


def ahead_of_the_event_time() -> None:
    """Measure how far ahead an event is from the newest one, not from its publish time."""

    def judged(
        self: Partition, events: EventColumns, positions: Sequence[tuple[int, int, int]], published: Sequence[int],
        now: int = 0,
    ) -> list[Refused]:  # fmt: skip
        return _accept(self, events, positions, [max(self.newest, 0)] * len(published), now)

    _accepting(judged)


def end_is_a_time() -> None:
    """Treat the end of a history as a mark that nothing can follow."""
    end = Partition.end

    def ended(self: Partition, position: tuple[int, int, int]) -> None:
        end(self, position)
        self.watermark = max(self.watermark, self.newest + 86_400_000_000)

    Partition.end = ended  # type: ignore[method-assign]


def marks_ignored() -> None:
    """Let marks move no watermark."""
    mark = Partition.mark

    def unmoved(self: Partition, *arguments: Any, **options: Any) -> InvalidEvent | None:
        watermark = self.watermark
        reason = mark(self, *arguments, **options)
        self.watermark = watermark
        return reason

    Partition.mark = unmoved  # type: ignore[method-assign]


def marks_of_any_time() -> None:
    """Accept a mark of the far future."""
    mark = Partition.mark

    def credulous(self: Partition, new_mark: Mark, *where: Any) -> InvalidEvent | None:
        reason = mark(self, new_mark, *where)
        if reason is not None and new_mark.time is not None:
            self.watermark = max(self.watermark, min(new_mark.time, IDLE - 1))
        return None

    Partition.mark = credulous  # type: ignore[method-assign]


def repeats_told_as_accepted() -> None:
    """Report a repeat to its sender as accepted."""
    count = Decisions._count
    Decisions._count = staticmethod(  # type: ignore[method-assign]
        lambda tally, index, reason: count(tally, index, _ACCEPTED if reason is None else reason)
    )


FAULTS = {
    mutant.__name__: mutant
    for mutant in (
        ids_forgotten_early,
        ids_forgotten_at_restart,
        late_before_repeated,
        lateness_ignored,
        ahead_ignored,
        ahead_of_the_event_time,
        end_is_a_time,
        marks_ignored,
        marks_of_any_time,
        repeats_told_as_accepted,
    )
}
