"""The fold worker: it folds events of the partitions it owns into rows and vectors, each step durable in order.

One step: emit the vectors, record *emitted*, write the rows, record *done*. The broker's acknowledgement
follows once the store has all of it on disk.

The broker moves partitions between workers. A worker notices by the epoch, before a step, that it has lost a
partition, and gives it up. If it notices during a step, its memory is ahead of the store, so it gives up all
partitions and takes them over again from the stored state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from headrace.engine.events import StreamCodec
from headrace.engine.former import Answering
from headrace.engine.kernel.fold import Fold, Plan
from headrace.engine.kernel.partition import Partition, PartitionId, Reached, RowsId
from headrace.engine.kernel.trial import Trial
from headrace.runtime.clock import wall_clock
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.redis.partitions import OwnerReport, PartitionStore
from headrace.runtime.redis.rows import RowStore
from headrace.runtime.redis.status import Heartbeat, PartitionStatus
from headrace.watermark import ENDED, IDLE, UNKNOWN
from headrace.wire.position import Position
from headrace.wording import FIRST_TIME
from headrace_feature.decoder import Decoded, decode
from headrace_feature.first_epochs import FirstEpochs
from headrace_feature.intake import Intake
from headrace_feature.other_partitions import OtherPartitions
from headrace_feature.ownership import Ownership
from headrace_feature.ports import DeadLetters
from headrace_feature.progress_publisher import ProgressPublisher
from headrace_feature.pulsar.outputs import VectorOutputs
from headrace_feature.row_memory import RowMemory, WrongRow
from headrace_feature.takeover import Takeover

_log = structlog.get_logger()

#: Seconds between two polls for work that nothing announces: while events wait for other workers, while there are other
#: workers, and when there are none, where a poll only detects that one has joined.
_PRESSED, _PULSE, _ALONE = 0.01, 1.0, 3.0

#: Time (µs) after which a partition without a new event counts as one that gets none.
_SILENT_US = 10_000_000


class FoldWorker:
    """A worker that folds and assembles for the partitions it owns. Not thread-safe: one thread calls it.

    Parameters
    ----------
    max_rows, max_bytes
        Rows of one view and partition held in memory, and bytes of all rows; beyond them, the least recently used are
        dropped.
    answering
        The former definitions that the fold also works for.
    wake
        Sends the owner of a partition a message so that it takes the partition over.
    durable
        Waits until the store has all earlier writes on disk; returns False if that took too long.
    """

    def __init__(
        self,
        fold: Fold,
        rows: RowStore,
        partitions: PartitionStore,
        outputs: VectorOutputs,
        *,
        dead_letters: DeadLetters,
        heartbeat: Heartbeat,
        durable: Callable[[], bool],
        max_rows: int,
        max_bytes: int = 2**30,
        clock: Callable[[], int] = wall_clock,
        answering: Answering | None = None,
        wake: Callable[[PartitionId], None] = lambda _partition: None,
    ) -> None:
        self._fold = fold
        self._answering = answering or Answering(fold.loop)
        self._store = partitions
        self._outputs = outputs
        self._dead_letters = dead_letters
        self._heartbeat = heartbeat
        self._clock = clock
        self._others = OtherPartitions(partitions, lambda partition: self._ownership.views(partition))
        self._first_epochs = FirstEpochs(durable)
        self._ownership = Ownership(fold, partitions, outputs, self._others, first_epochs=self._first_epochs, wake=wake)
        self._rows = RowMemory(fold, rows, self._ownership, heartbeat, max_rows=max_rows, max_bytes=max_bytes)
        self._intake = Intake(dead_letters, heartbeat, clock)
        self._publisher = ProgressPublisher(fold, partitions, outputs, self._ownership, heartbeat=heartbeat)
        self._codecs = {stream.name: StreamCodec(stream) for stream in fold.loop.streams}
        self._trials = {stream.name: Trial(fold.loop, stream.name) for stream in fold.loop.streams}
        self._ended_takeovers: frozenset[str] = frozenset()
        self._count = len(self._all())
        self._reached_by_others: list[Reached] = []
        # Copies for other threads, which must not read state while it changes.
        self._watermark: int | None = None
        self._newest: int | None = None
        self._held_by = ""
        self._statuses: dict[PartitionId, PartitionStatus] = {}

    def end_takeovers(self, models: Collection[str]) -> None:
        """Stop working for the former definitions of these models, from the next step on. Callable from any thread."""
        self._ended_takeovers = self._ended_takeovers.union(models)

    def _end_takeovers(self) -> None:
        if self._ended_takeovers:
            models, self._ended_takeovers = self._ended_takeovers, frozenset()
            self._answering = self._answering.without(models)
            self._fold.narrow(self._answering.folded, self._answering.wide)
            self._rows.name_views()
            self._ownership.name_views()

    def take_over(self, partition: PartitionId) -> Takeover:
        """Become the owner of a partition.

        Raises
        ------
        CorruptState
            The store has lost the partition's state.
        """
        return self._ownership.take_over(partition)

    def lacks_a_part(self, partition: PartitionId) -> bool:
        """Return whether a view or a model is new, so that the partition must be taken over even without an event."""
        return self._ownership.lacks_a_part(partition)

    def owns(self, partition: PartitionId, epoch: int) -> bool:
        """Return whether this worker has owned the partition without a break since it took it over with this epoch."""
        return self._ownership.owns(partition, epoch)

    def give_up(self) -> None:
        """Give up all partitions: memory may be ahead of the store."""
        self._ownership.give_up_all()

    @property
    def pulse(self) -> float:
        """Seconds after which to look for work again."""
        partitions = tuple(self._fold.partitions.values())
        if any(partition.backlog for partition in partitions):
            return _PRESSED
        return _ALONE if len(partitions) == self._count else _PULSE

    def decode(self, partition: PartitionId, batch: Batch) -> list[Decoded]:
        """Decode a batch; this needs no state, so any thread may call it."""
        return decode(self._codecs[partition.stream], self._trials[partition.stream], batch)

    def accept(self, partition: PartitionId, epoch: int, decoded: Sequence[Decoded]) -> None:
        """Accept decoded messages, in order; invalid ones go to the dead letters.

        Ignore what was read before an earlier takeover: it is read again.
        """
        if self.owns(partition, epoch):
            self._intake.accept(self._ownership.partitions[partition], decoded)

    def note_silence(self, partition: PartitionId, end: Position) -> None:
        """Note that no message has come for a while and the log ends at `end`, so that the partition may be idle."""
        owned = self._ownership.partitions.get(partition)
        if owned is None:
            # Another worker owns the partition, so our silence says nothing about its progress.
            self._others.note_silence(partition, end)
        elif _is_read_to(owned.state, end):
            owned.state.become_idle()

    def note_end(self, partition: PartitionId, end: Position) -> None:
        """Note the end of the log: what is reported as idle or ended counts only if nothing follows it there."""
        owned = self._ownership.partitions.get(partition)
        if owned is None:
            self._others.note_end(partition, end)
            return
        owned.state.expect((end.ledger, end.entry))
        if _is_read_to(owned.state, end):
            owned.state.stay_ended()

    def is_idle(self, partition: PartitionId) -> bool:
        """Return whether the partition is idle or ended and has no work in progress, here or elsewhere."""
        owned = self._ownership.partitions.get(partition)
        if owned is None:
            return self._others.is_idle(partition)
        state, saved = owned.state, owned.saved
        reached = Reached(state.release_watermark, state.release_watermark)
        is_saved = saved is not None and saved.reached == reached and saved.done == state.progress.done
        return is_saved and not state.backlog and state.release_watermark >= IDLE

    def is_full(self, partition: PartitionId, bound: int) -> bool:
        """Return whether to pause reading a partition because more than `bound` of its events are not done.

        The partition with the lowest release watermark is never paused: all others wait for its events.
        """
        state = self._fold.partitions.get(partition)
        if state is None or state.backlog <= bound:
            return False
        release_watermarks = [other.release_watermark for other in tuple(self._fold.partitions.values())]
        return state.release_watermark > min(
            *release_watermarks, *(other.folded for other in self._reached_by_others), ENDED
        )

    def step(self) -> bool:
        """Do one step of work; return False if there was nothing to do.

        Raises
        ------
        Fenced, Unavailable
            Memory may be ahead of the store now: call `give_up`.
        """
        self._end_takeovers()
        reports = self._store.owner_reports(self._all())
        self._ownership.give_up_lost(reports)
        others = self._find_others(reports)
        self._reached_by_others = list(others.values())
        plan = self._fold.plan(self._reached_by_others, self._clock())
        self._held_by = self._least(others) if plan.empty else ""
        if plan.empty:
            # Events that were refused or resent are done without a step.
            self._dead_letters.flush()
            self._fold.settle()
            self._publish()
            return False
        loaded = self._rows.load(plan)
        if loaded.wrong:
            self._rebuild(loaded.wrong)
            return True
        if plan.needed and _epochs(self._store.owner_reports(self._all())) != _epochs(reports):
            # Rows may be missing since their progress was read: the store was wiped, or a partition was restarted.
            return True
        self._execute(plan, loaded.remote)
        return True

    def _execute(self, plan: Plan, remote: Mapping[RowsId, Mapping[str, bytes]]) -> None:
        """Fold and assemble; make the effects durable in the order that lets another owner continue at any point."""
        step = self._fold.execute(plan, remote)
        self._first_epochs.finish()
        self._publisher.send(step.vectors, self._answering)
        self._dead_letters.flush()
        self._outputs.flush()
        self._publisher.record_emitted(step.vectors)
        self._rows.write(step.changed)
        self._publish()
        self._heartbeat.count("events", step.folded)
        self._rows.evict()

    def done(self) -> dict[PartitionId, Position]:
        """Return the saved position of each partition. Callable from any thread, like the methods below."""
        partitions = tuple(self._ownership.partitions.items())
        return {partition: owned.saved.done for partition, owned in partitions if owned.saved is not None}

    def watermark(self) -> int | None:
        """Return the event time up to which this worker's partitions are done; None if that is unknown."""
        return self._watermark

    def newest(self) -> int | None:
        """Return the newest event time that this worker's partitions have seen; None before the first event."""
        return self._newest

    def held_by(self) -> str:
        """Return the partition that the events read so far wait for; empty if none waits, or if it gets events."""
        return self._held_by

    def statuses(self) -> dict[PartitionId, PartitionStatus]:
        """Return the status of each partition that this worker owns."""
        return dict(self._statuses)

    def _all(self) -> list[PartitionId]:
        """Return every partition of the loop, owned or not."""
        return [
            PartitionId(stream.name, index) for stream in self._fold.loop.streams for index in range(stream.partitions)
        ]

    def _find_others(self, reports: Mapping[PartitionId, OwnerReport | None]) -> dict[PartitionId, Reached]:
        """Return the progress of all other partitions, as their owners reported it; idle ones are left out."""
        return {
            partition: self._others.reached(partition, report)
            for partition, report in reports.items()
            if partition.stream in self._fold.streams
            and partition not in self._fold.partitions
            and not self._others.is_silent(partition, report)
        }

    def _least(self, others: Mapping[PartitionId, Reached]) -> str:
        """Return the partition that events wait for; empty if none waits."""
        partitions = self._fold.partitions
        if not any(partition.backlog for partition in partitions.values()):
            return ""
        reached = {name: partition.release_watermark for name, partition in partitions.items()}
        reached |= {name: min(other) for name, other in others.items()}
        least = min(reached, key=reached.__getitem__)
        waiting = partitions[least].waiting if least in partitions else None
        # A partition that gets events is waited for no longer than its lateness.
        gets_events = waiting is not None and self._clock() - int(waiting.since[-1]) < _SILENT_US
        return "" if gets_events else str(least)

    def _rebuild(self, wrong_rows: Sequence[WrongRow]) -> None:
        """Discard damaged rows, and have their partitions folded again."""
        for row in wrong_rows:
            partition = str(self._ownership.source_of(row.rows))
            _log.error("row_refused", partition=partition, view=row.rows.view, key=row.key[:80], reason=str(row.reason))
        self._rows.discard(wrong_rows)
        self._heartbeat.count("wrong_rows", len(wrong_rows))
        for source in {self._ownership.source_of(row.rows) for row in wrong_rows}:
            self._ownership.rebuild(source)

    def _publish(self) -> None:
        self._publisher.publish()
        partitions = self._fold.partitions.values()
        # Count only partitions that have had an event: a stream without events cannot be behind.
        watermark = min(
            (partition.release_watermark_out() for partition in partitions if partition.last[0] >= 0), default=UNKNOWN
        )
        self._watermark = watermark if watermark > UNKNOWN else None
        self._newest = max((partition.newest for partition in partitions if partition.newest > UNKNOWN), default=None)
        now = self._clock()
        self._statuses = {name: _status(partition, now) for name, partition in self._fold.partitions.items()}


def _is_read_to(partition: Partition, end: Position) -> bool:
    """Return whether a partition has been read to the end of its log; if the log ends later, there is more to read."""
    return (end.ledger, end.entry) <= partition.last[:2]


def _status(partition: Partition, now: int) -> PartitionStatus:
    waiting = partition.waiting
    return PartitionStatus(
        owned=True,
        waiting=partition.backlog,
        oldest_s=0.0 if waiting is None else max(now - int(waiting.since[0]), 0) / 1e6,
        watermark=None if partition.watermark < FIRST_TIME else partition.watermark,
        idle=partition.release_watermark >= IDLE,
    )


def _epochs(reports: Mapping[PartitionId, OwnerReport | None]) -> dict[PartitionId, int]:
    return {partition: 0 if report is None else report.epoch for partition, report in reports.items()}
