"""The status of a feature process: its partitions, its joins, and what they wait for."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.definition import LoopDefinition
from headrace.engine.former import Answering
from headrace.engine.kernel.partition import PartitionId
from headrace.runtime.redis.partitions import OwnerReport, PartitionStore
from headrace.runtime.redis.status import PartitionStatus, ServiceStatus
from headrace.wire.position import START
from headrace.wire.times import to_status
from headrace.wording import FIRST_TIME, counted
from headrace_feature.fold_worker import FoldWorker
from headrace_feature.join_worker import JoinWorker
from headrace_feature.lane import Lane
from headrace_feature.pulsar.unread_counts import UnreadCounts


class FeatureStatus:
    """The report of a process's workers.

    Attributes
    ----------
    lanes
        The lanes of the process; the note names the state that they refuse.
    """

    def __init__(self, loop: LoopDefinition, partitions: PartitionStore, unread: UnreadCounts) -> None:
        self.lanes: Sequence[Lane] = ()
        self._partition_ids = [
            PartitionId(stream.name, index) for stream in loop.streams for index in range(stream.partitions)
        ]
        self._partitions = partitions
        self._unread = unread
        self._events_read = 0

    def report(
        self, status: ServiceStatus, folder: FoldWorker | None, joiners: Sequence[JoinWorker], answering: Answering
    ) -> None:
        """Update the status.

        Raises
        ------
        Unavailable
            The broker or the store does not answer.
        """
        if folder is not None:
            status.watermark = to_status(folder.watermark())
            status.newest = folder.newest()
            status.held_by = folder.held_by()
            status.partitions = self._partition_statuses(folder, status.counters.get("events", 0))
        joins = {joiner.model.name: joiner.status() for joiner in joiners}
        status.joins = {name: join for name, join in joins.items() if join is not None}
        refusals = "; ".join(dict.fromkeys(reason for lane in self.lanes for reason in tuple(lane.refused.values())))
        status.note = refusals or _describe_work(folder, joiners, answering)

    def _partition_statuses(self, folder: FoldWorker, events_read: int) -> dict[str, PartitionStatus]:
        local = folder.statuses()
        busy, self._events_read = events_read != self._events_read, events_read
        others = [partition for partition in self._partition_ids if partition not in local]
        reports = self._partitions.owner_reports(others) if others else {}
        statuses = {}
        for partition in self._partition_ids:
            report = reports.get(partition)
            status = local.get(partition) or PartitionStatus(watermark=_last_watermark(report))
            done = START if report is None else report.done
            status.unread = self._unread.count(partition, None if status.owned else done, busy)
            statuses[str(partition)] = status
        return statuses


def _last_watermark(report: OwnerReport | None) -> int | None:
    """Return the watermark that an owner has saved; after a restart nobody owns a partition until an event comes."""
    return None if report is None or report.watermark < FIRST_TIME else report.watermark


def _describe_work(folder: FoldWorker | None, joiners: Sequence[JoinWorker], answering: Answering) -> str:
    """Describe what this process owns now, in case several share the work."""
    count = len(folder.done()) if folder is not None else None
    # The broker assigns a partition with the first event that arrives.
    folds = [] if count is None else [f"folds {counted(count, 'partition')}" if count else "waits for events"]
    joins = [joiner.model.name for joiner in joiners if joiner.active]
    formers = [f"folds {title} in its former form, too" for title in answering.views]
    return "; ".join([*folds, *formers, *(f"joins {name}" for name in joins)])
