"""The state of a partition while this worker owns it."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.engine.kernel.partition import Partition, PartitionId, RowsId
from headrace.runtime.redis.decisions import Decisions
from headrace.runtime.redis.partitions import OwnerReport
from headrace.wire.position import Position
from headrace_feature.pulsar.outputs import OutputReached


@dataclass
class OwnedPartition:
    """A partition of this worker, from its takeover until it is given up.

    Attributes
    ----------
    state
        Its events and progress, as the kernel works on them.
    epoch
        The fencing number of this ownership.
    oldest_epoch
        Rows of owners before this epoch count as lost.
    decisions, has_new_decisions
        The decisions that calls of `ingest` wait for, and whether some of them are not saved yet.
    last_dead_letter
        Position of the last dead letter that the saved progress does not cover; None if there is none.
    saved
        The report that was saved last; None before the first one.
    published
        By model, the progress of its vectors that was published last.
    recent
        By view and partition, the keys of its rows in memory, least recently used first.
    """

    id: PartitionId
    state: Partition
    epoch: int
    oldest_epoch: int
    decisions: Decisions
    has_new_decisions: bool = False
    last_dead_letter: Position | None = None
    saved: OwnerReport | None = None
    published: dict[str, OutputReached] = field(default_factory=dict)
    recent: dict[RowsId, dict[str, None]] = field(default_factory=dict)

    def use_rows(self, rows: RowsId, keys: list[str]) -> None:
        """Note that these rows were used now."""
        recent = self.recent.setdefault(rows, {})
        for key in keys:
            recent.pop(key, None)
            recent[key] = None
