"""The partitions that this worker does not own: the progress of their owners, and which of them are idle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from headrace.engine.kernel.partition import PartitionId, Reached
from headrace.runtime.redis.partitions import OwnerReport, PartitionStore
from headrace.watermark import IDLE
from headrace.wire.position import START, Position


class _Look(NamedTuple):
    """A look at a partition: the end of its log, and its owner's report at that time."""

    end: Position
    report: OwnerReport | None


@dataclass
class _OtherPartition:
    """A partition that this worker does not own.

    Attributes
    ----------
    last_look
        The last look at the end of its silent log.
    silence
        The look that found it idle; None if it is not known to be idle.
    first_report, has_report
        The owner's report when this worker first read it, and whether it has read one.
    """

    last_look: _Look | None = None
    silence: _Look | None = None
    first_report: OwnerReport | None = None
    has_report: bool = False


class OtherPartitions:
    """What a worker knows about the partitions that it does not own.

    Parameters
    ----------
    views
        Returns the views of the loop that fold a partition.
    """

    def __init__(self, store: PartitionStore, views: Callable[[PartitionId], frozenset[str]]) -> None:
        self._store = store
        self._views = views
        self._partitions: dict[PartitionId, _OtherPartition] = {}

    def forget(self, partition: PartitionId) -> None:
        """Forget a partition whose owner changes."""
        self._partitions.pop(partition, None)

    def note_silence(self, partition: PartitionId, end: Position) -> None:
        """Note that no message has come for a while and the log ends at `end`.

        It is idle if its log is empty, or if two looks find the same end and the same report: an owner that saved
        something in between may be working on new events.
        """
        other = self._other(partition)
        other.silence = None
        look = _Look(end, self._report(partition))
        is_empty = end == START and (look.report is None or look.report.done == START)
        if is_empty or other.last_look == look:
            other.silence = look
        other.last_look = look

    def note_end(self, partition: PartitionId, end: Position) -> None:
        """Note the end of the log: an earlier idle report still holds if it covers the log up to here."""
        report = self._report(partition)
        is_idle = report is not None and report.reached.is_idle
        # An empty log may have been trimmed, or its broker may be starting: `note_silence` looks twice.
        if is_idle and end != START:
            self._other(partition).silence = _Look(end, report)

    def is_idle(self, partition: PartitionId) -> bool:
        """Return whether a partition is idle or ended and its owner has no work in progress."""
        report = self._report(partition)
        return self.is_silent(partition, report) or self.reached(partition, report).out >= IDLE

    def is_silent(self, partition: PartitionId, report: OwnerReport | None) -> bool:
        """Return whether a partition has been silent for long, with every event done."""
        look, report = self._other(partition).silence, self._usable(partition, report)
        if look is None or report != look.report:
            return False
        done = START if report is None else report.done
        return look.end == START or (done.ledger, done.entry) == (look.end.ledger, look.end.entry)

    def reached(self, partition: PartitionId, report: OwnerReport | None) -> Reached:
        """Return the progress that the owner of a partition has reported.

        A report of an idle partition counts only if it was saved after we first read it. An older one may come from an
        owner that has died, so events may have arrived since. The end of the log then decides: see `note_end` and
        `note_silence`.
        """
        other, report = self._other(partition), self._usable(partition, report)
        if not other.has_report:
            other.first_report, other.has_report = report, True
        if report is None or (report.reached.is_idle and report == other.first_report):
            return Reached()
        return report.reached

    def _other(self, partition: PartitionId) -> _OtherPartition:
        return self._partitions.setdefault(partition, _OtherPartition())

    def _report(self, partition: PartitionId) -> OwnerReport | None:
        return self._usable(partition, self._store.owner_reports([partition])[partition])

    def _usable(self, partition: PartitionId, report: OwnerReport | None) -> OwnerReport | None:
        """Return a report; only its epoch if the owner does not fold all views, whose rows are then incomplete."""
        if report is None or self._views(partition) <= report.views:
            return report
        return OwnerReport(report.epoch)
