"""The fold worker: it folds events of the partitions it owns into rows and vectors, each step durable in order.

One step: emit the vectors, record *emitted*, write the rows, record *done*. The broker's acknowledgement
follows once the store has all of it on disk.

The broker moves partitions between workers. A worker notices by the epoch, before a step, that it has lost a
partition, and gives it up. If it notices during a step, its memory is ahead of the store, so it gives up all
partitions and takes them over again from the stored state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import structlog

from headrace.engine.events import StreamCodec
from headrace.engine.former import Answering
from headrace.engine.kernel.fold import Changed, Fold, Plan
from headrace.engine.kernel.partition import Partition, PartitionId, Progress, Reached, RowsId
from headrace.engine.kernel.rows import RowSet, epoch_of, words_of
from headrace.engine.kernel.trial import Trial
from headrace.engine.marks import Mark
from headrace.errors import InvalidEvent, LateEvent, Unreadable
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.dead_letter_writer import Refusals
from headrace.runtime.redis.decisions import Decisions
from headrace.runtime.redis.decisions import decode as decode_decisions
from headrace.runtime.redis.decisions import encode as encode_decisions
from headrace.runtime.redis.partitions import PartitionStore, Standing, view_names
from headrace.runtime.redis.rows import RowStore, Write
from headrace.runtime.redis.status import Heartbeat, PartitionStatus
from headrace.watermark import ENDED, RESTING, UNKNOWN
from headrace.wire.position import START, Position
from headrace.wording import FIRST_TIME
from headrace_feature.decoding import Decoded, decode
from headrace_feature.key_placement import KeyPlacement
from headrace_feature.outputs import OutputReached, VectorOutputs
from headrace_feature.tenure import Tenure

_log = structlog.get_logger()

#: Seconds between two polls for work that nothing announces: while events wait for other workers, while there are other
#: workers, and when there are none, where a poll only detects that one has joined.
_PRESSED, _PULSE, _ALONE = 0.01, 1.0, 3.0

#: Rows of a view and partition that stay in memory whatever their size.
_FEW = 1_000

#: Sender prefix of the marks of `headrace play`, which sends some each second.
_PLAYED = "play:"


def wall_clock() -> int:
    """Return the current time, in µs since the epoch."""
    return time.time_ns() // 1_000


class _WrongRow(NamedTuple):
    """A row in the store that cannot be read."""

    rows: RowsId
    key: str
    state: bytes
    reason: Unreadable


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
    """

    def __init__(
        self,
        fold: Fold,
        rows: RowStore,
        partitions: PartitionStore,
        outputs: VectorOutputs,
        refusals: Refusals,
        heartbeat: Heartbeat,
        max_rows: int,
        clock: Callable[[], int] = wall_clock,
        answering: Answering | None = None,
        wake: Callable[[PartitionId], None] = lambda _partition: None,
        max_bytes: int = 2**30,
    ) -> None:
        self._max_bytes = max_bytes
        self._fold = fold
        self._wake = wake
        self._answering = answering or Answering(fold.loop)
        self._rows = rows
        self._partitions = partitions
        self._outputs = outputs
        self._refusals = refusals
        self._heartbeat = heartbeat
        self._key_placement = KeyPlacement(heartbeat)
        self._max_rows = max_rows
        self._clock = clock
        self._epochs: dict[PartitionId, int] = {}
        self._floors: dict[PartitionId, int] = {}
        self._published: dict[tuple[str, PartitionId], OutputReached] = {}
        self._last_letters: dict[PartitionId, Position] = {}
        self._decisions: dict[PartitionId, Decisions] = {}
        self._new_decisions: set[PartitionId] = set()
        self._standings: dict[PartitionId, Standing] = {}
        self._recent: dict[RowsId, dict[str, None]] = {}
        self._others: list[Reached] = []
        self._frontier: int | None = None
        self._newest: int | None = None
        self._held_by = ""
        self._statuses: dict[PartitionId, PartitionStatus] = {}
        self._log_ends: dict[PartitionId, tuple[Position, Standing | None]] = {}
        self._silence: dict[PartitionId, tuple[Position, Standing | None]] = {}
        self._first_standings: dict[PartitionId, Standing | None] = {}
        self._count = len(self._all())
        self._codecs = {stream.name: StreamCodec(stream) for stream in fold.loop.streams}
        self._trials = {stream.name: Trial(fold.loop, stream.name) for stream in fold.loop.streams}
        self._ended_takeovers: frozenset[str] = frozenset()
        self._name_views()

    def _name_views(self) -> None:
        self._former = {view.name for view in self._fold.loop.views if view.stored != view.name}
        self._views = {stream.name: view_names(self._fold.loop, stream.name) for stream in self._fold.loop.streams}

    def end_takeovers(self, models: Collection[str]) -> None:
        """Stop working for the former definitions of these models, from the next step on. Callable from any thread."""
        self._ended_takeovers = self._ended_takeovers.union(models)

    def _end_takeovers(self) -> None:
        if self._ended_takeovers:
            models, self._ended_takeovers = self._ended_takeovers, frozenset()
            self._answering = self._answering.without(models)
            self._fold.narrow(self._answering.folded, self._answering.wide)
            self._recent = {rows: keys for rows, keys in self._recent.items() if rows in self._fold.rows}
            self._name_views()

    def take_over(self, partition: PartitionId) -> Tenure:
        """Become the owner of a partition.

        Raises
        ------
        CorruptState
            The store has lost the partition's state.
        """
        self._give_up(partition)
        models = [model for model in self._fold.models if model.stream == partition.stream]
        if not self._partitions.known(partition):
            self._outputs.refuse_unknown(partition, models)
        epoch, progress, ids, views, floor, decisions = self._partitions.take_over(partition)
        if self._lacks_a_view(partition, views):
            epoch, progress, ids = self._restart(partition, epoch, progress)
        self._outputs.open(partition, epoch, models)
        self._fold.own(partition, progress, ids)
        self._epochs[partition], self._floors[partition] = epoch, floor
        self._decisions[partition] = decode_decisions(decisions)
        _log.info("partition_taken_over", partition=str(partition), epoch=epoch, done=str(progress.done))
        return Tenure(epoch, Position(*progress.done))

    def lacks_a_view(self, partition: PartitionId) -> bool:
        """Return whether a view is new, so that the partition must be taken over even if no event arrives."""
        return self._lacks_a_view(partition, self._partitions.views(partition))

    def _lacks_a_view(self, partition: PartitionId, views: frozenset[str] | None) -> bool:
        return views is not None and not self._views[partition.stream] <= views

    def _restart(self, partition: PartitionId, epoch: int, progress: Progress) -> tuple[int, Progress, dict[str, int]]:
        """Restart a partition whose views are new or changed: fold its log from the beginning before they serve."""
        goal, restart = Position(*progress.done), progress.anew()
        epoch = self._partitions.begin_anew(partition, epoch, restart, goal, self._views[partition.stream])
        _log.warning("view_rebuild_started", partition=str(partition), up_to=str(goal))
        return epoch, restart, {}

    def owns(self, partition: PartitionId, epoch: int) -> bool:
        """Return whether this worker has owned the partition without a break since it took it over with this epoch."""
        return self._epochs.get(partition) == epoch

    def give_up(self) -> None:
        """Give up all partitions: memory may be ahead of the store."""
        for partition in tuple(self._fold.partitions):
            self._give_up(partition)

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

        Ignore what was read in an earlier tenure: it is read again.
        """
        if not self.owns(partition, epoch):
            return
        state = self._fold.partitions[partition]
        for part in decoded:
            refusals = part.accepted_by(state, self._clock())
            if part.mark is not None:
                self._note_mark(partition, part.mark, None if refusals is None else refusals[0].reason)
            if refusals is None:
                continue
            if not part.is_note:
                self._key_placement.check(state.stream, partition.partition, part.events)
            reasons: dict[int, InvalidEvent | None] = {part.valid[place]: reason for place, reason in refusals}
            reasons.update(part.invalid)
            self._heartbeat.count("resent", sum(reason is None for reason in reasons.values()))
            if part.calls and self._decisions[partition].note(part.calls, part.positions, reasons):
                self._new_decisions.add(partition)
            letters = [
                (row, reason)
                for row, reason in sorted(reasons.items(), key=itemgetter(0))
                if reason is not None and part.positions[row] > state.progress.refused
            ]
            for row, reason in letters:
                position = part.positions[row]
                self._refusals.refuse(state.stream, partition.partition, reason, part.payloads[row], position)
                self._last_letters[partition] = max(position, self._last_letters.get(partition, START))
            self._heartbeat.count("late", sum(isinstance(reason, LateEvent) for _, reason in letters))
            self._heartbeat.count("dead_letters", len(letters))

    def _note_mark(self, partition: PartitionId, mark: Mark, refusal: InvalidEvent | None) -> None:
        """Log and count a mark: its sender, and whether it was accepted."""
        watermark = self._fold.partitions[partition].watermark
        facts = {"partition": str(partition), "until": mark.time, "sender": mark.sender, "watermark": watermark}
        if refusal is not None:
            self._heartbeat.count("marks_refused")
            _log.warning("mark_refused", **facts, reason=str(refusal))
            return
        self._heartbeat.count("marks")
        if mark.withdraws:
            _log.warning("mark_withdrawn", **facts)
        elif mark.sender.startswith(_PLAYED):
            _log.debug("mark_taken", **facts)  # a player sends one after each slice
        else:
            _log.info("mark_taken", **facts)

    def rest(self, partition: PartitionId, end: Position) -> None:
        """Note that the partition is silent and its log ends here: it no longer holds anything back."""
        state = self._fold.partitions.get(partition)
        if state is not None:
            # An end beyond what we have read was reported before this takeover: the log is not idle for us yet.
            if (end.ledger, end.entry) <= state.last[:2]:
                state.rest()
            return
        # Not ours, so our silence says nothing about its log. It is idle if its log is empty, or if two looks find
        # the same end and the same standing: an owner that saved something in between may be working on new events.
        self._silence.pop(partition, None)
        look = end, self._partitions.standings([partition])[partition]
        is_empty = end == START and (look[1] is None or look[1].done == START)
        if is_empty or self._log_ends.get(partition) == look:
            self._silence[partition] = look
        self._log_ends[partition] = look

    def seen(self, partition: PartitionId, end: Position) -> None:
        """Note where its log ends: an earlier report that it is idle holds if it covered the log up to here."""
        standing = self._partitions.standings([partition])[partition]
        is_idle = standing is not None and standing.reached.rests
        # An empty log may have been trimmed, or its broker may be starting: `rest` looks twice.
        if is_idle and end != START and partition not in self._fold.partitions:
            self._silence[partition] = end, standing

    def rests(self, partition: PartitionId) -> bool:
        """Return whether the partition is idle or ended and has no work in progress, here or elsewhere."""
        state = self._fold.partitions.get(partition)
        if state is None:
            standing = self._partitions.standings([partition])[partition]
            return self._is_silent(partition, standing) or self._reached_by(partition, standing).out >= RESTING
        saved = self._standings.get(partition)
        is_saved = saved is not None and saved[1:] == (Reached(state.frontier, state.frontier), state.progress.done)
        return is_saved and not state.backlog and state.frontier >= RESTING

    def full(self, partition: PartitionId, bound: int) -> bool:
        """Return whether to pause reading a partition because more than `bound` of its events are not done.

        The partition with the least frontier is never paused: all others wait for its events.
        """
        state = self._fold.partitions.get(partition)
        if state is None or state.backlog <= bound:
            return False
        frontiers = [other.frontier for other in tuple(self._fold.partitions.values())]
        return state.frontier > min(*frontiers, *(other.folded for other in self._others), ENDED)

    def step(self) -> bool:
        """Do what can be done now; return False if there was nothing.

        Raises
        ------
        Fenced, Unavailable
            Memory may be ahead of the store now: call `give_up`.
        """
        self._end_takeovers()
        standings = self._partitions.standings(self._all())
        self._give_up_lost(standings)
        others = self._reached_by_others(standings)
        self._others = list(others.values())
        plan = self._fold.plan(self._others, self._clock())
        self._held_by = self._least(others) if plan.empty else ""
        if plan.empty:
            # Events that were refused or resent are done without a step.
            self._refusals.flush()
            self._fold.settle()
            self._publish()
            return False
        remote, wrong_rows = self._load(plan)
        if wrong_rows:
            self._remake(wrong_rows)
            return True
        if plan.needed and _epochs(self._partitions.standings(self._all())) != _epochs(standings):
            # Rows may have gone since their progress was read: the store was wiped, or a partition was restarted.
            return True
        step = self._fold.execute(plan, remote)
        for vectors in step.vectors:
            reached = self._reached(vectors.source, vectors.model.name)
            self._outputs.send(vectors, reached, self._answering.hash(vectors.model.name))
            self._published[vectors.model.name, vectors.source] = reached
            self._heartbeat.count("vectors", len(vectors.ids))
            self._heartbeat.count("read_beyond_keep", vectors.assembled.behind)
        self._refusals.flush()
        self._outputs.flush()
        for source in {vectors.source for vectors in step.vectors}:
            self._partitions.record_emitted(source, self._epochs[source], self._fold.partitions[source].progress)
        self._write(step.changed)
        self._publish()
        self._heartbeat.count("events", step.folded)
        self._forget()
        return True

    def done(self) -> dict[PartitionId, Position]:
        """Return the saved position of each partition. Callable from any thread, like the methods below."""
        return {partition: standing.done for partition, standing in tuple(self._standings.items())}

    def frontier(self) -> int | None:
        """Return the event time up to which this worker's partitions are done; None if that is unknown."""
        return self._frontier

    def newest(self) -> int | None:
        """Return the newest event time that this worker's partitions have seen; None before the first event."""
        return self._newest

    def held_by(self) -> str:
        """Return the partition that the events read so far wait for; empty if none waits."""
        return self._held_by

    def statuses(self) -> dict[PartitionId, PartitionStatus]:
        """Return the status of each partition that this worker owns."""
        return dict(self._statuses)

    def _all(self) -> list[PartitionId]:
        """Return every partition of the loop, owned or not."""
        return [
            PartitionId(stream.name, index) for stream in self._fold.loop.streams for index in range(stream.partitions)
        ]

    def _give_up_lost(self, standings: Mapping[PartitionId, Standing | None]) -> None:
        for partition, epoch in tuple(self._epochs.items()):
            standing = standings.get(partition)
            if standing is None or standing.epoch != epoch:
                _log.warning("partition_lost", partition=str(partition), epoch=epoch)
                self._give_up(partition)

    def _give_up(self, partition: PartitionId) -> None:
        self._epochs.pop(partition, None)
        self._floors.pop(partition, None)
        self._standings.pop(partition, None)
        self._first_standings.pop(partition, None)
        self._last_letters.pop(partition, None)
        self._decisions.pop(partition, None)
        self._new_decisions.discard(partition)
        if partition not in self._fold.partitions:
            return
        self._fold.disown(partition)
        for model in self._fold.models:
            self._published.pop((model.name, partition), None)
        for rows in [rows for rows in self._recent if rows not in self._fold.rows]:
            del self._recent[rows]

    def _reached_by_others(self, standings: Mapping[PartitionId, Standing | None]) -> dict[PartitionId, Reached]:
        return {
            partition: self._reached_by(partition, standing)
            for partition, standing in standings.items()
            if partition.stream in self._fold.streams
            and partition not in self._fold.partitions
            and not self._is_silent(partition, standing)
        }

    def _reached_by(self, partition: PartitionId, standing: Standing | None) -> Reached:
        """Return how far the owner of a partition is.

        A standing that says idle counts only if it was saved after our first look at it. An older one may come from an
        owner that is gone and does not know what has arrived since: then our own look at the log decides, see `seen`
        and `rest`.
        """
        first = self._first_standings.setdefault(partition, standing)
        if standing is None or (standing.reached.rests and standing == first):
            return Reached()
        return standing.reached

    def _least(self, others: Mapping[PartitionId, Reached]) -> str:
        """Return the partition that events wait for; empty if none waits."""
        partitions = self._fold.partitions
        if not any(partition.backlog for partition in partitions.values()):
            return ""
        reached = {name: partition.frontier for name, partition in partitions.items()}
        reached |= {name: min(other) for name, other in others.items()}
        return str(min(reached, key=reached.__getitem__))

    def _is_silent(self, partition: PartitionId, standing: Standing | None) -> bool:
        """Return whether a partition that is not ours has been silent for long, with every event done."""
        end, last_standing = self._silence.get(partition, (None, None))
        if end is None or standing != last_standing:
            return False
        done = START if standing is None else standing.done
        return end == START or (done.ledger, done.entry) == (end.ledger, end.entry)

    def _load(self, plan: Plan) -> tuple[dict[RowsId, dict[str, bytes]], list[_WrongRow]]:
        """Return the needed rows of others' partitions, and the rows that cannot be read; load our own into memory."""
        remote: dict[RowsId, dict[str, bytes]] = {}
        wrong_rows: list[_WrongRow] = []
        for rows, states in (self._rows.load(plan.needed) if plan.needed else {}).items():
            row_set = self._fold.rows.get(rows)
            layout = self._fold.layout(rows.view)
            floor = self._floors[self._source(rows)] if row_set is not None else 0
            readable: dict[str, bytes] = {}
            for key, state in states.items():
                if epoch_of(state) < floor:
                    continue
                try:
                    words_of(layout, state) if row_set is None else row_set.add(key, state)
                except Unreadable as error:
                    wrong_rows.append(_WrongRow(rows, key, state, error))
                else:
                    readable[key] = state
            if row_set is None:
                remote[rows] = readable
            else:
                self._use(rows, readable)
        return remote, wrong_rows

    def _remake(self, wrong_rows: Sequence[_WrongRow]) -> None:
        """Have the partitions of damaged rows folded again from the beginning of their logs, by any owner."""
        for row in wrong_rows:
            reason = {"view": row.rows.view, "key": row.key[:80], "reason": str(row.reason)}
            _log.error("row_refused", partition=str(self._source(row.rows)), **reason)
            self._rows.discard(row.rows, row.key, row.state)
        self._heartbeat.count("wrong_rows", len(wrong_rows))
        for partition in {self._source(row.rows) for row in wrong_rows}:
            rebuilds = self._partitions.rebuilding([partition])
            takeover = self._partitions.take_over(partition)
            done = Position(*takeover.progress.done)
            goal = max(done, rebuilds[partition][1]) if partition in rebuilds else done
            views = self._views[partition.stream]
            self._partitions.begin_anew(partition, takeover.epoch, takeover.progress.anew(), goal, views, lost=True)
            _log.warning("folding_again", partition=str(partition), up_to=str(goal))
            self._give_up(partition)
            self._wake(partition)

    def _source(self, rows: RowsId) -> PartitionId:
        return PartitionId(self._fold.loop.view(rows.view).stream, rows.partition)

    def _write(self, changed: Sequence[Changed]) -> None:
        by_partition: dict[PartitionId, list[Write]] = {}
        for rows, slots in changed:
            row_set = self._fold.rows[rows]
            source = self._source(rows)
            states = row_set.dump(slots, self._epochs[source])
            keys = [row_set.key(slot) for slot in slots]
            by_partition.setdefault(source, []).append(Write(rows, dict(zip(keys, states, strict=True))))
            self._heartbeat.count("rows", len(slots))
            if rows.view in self._former:
                self._heartbeat.count("former_rows", len(slots))
            self._use(rows, keys)
        for source, writes in by_partition.items():
            self._rows.write(writes, str(source), self._epochs[source])

    def _publish(self) -> None:
        """Publish the frontier of every partition that moved, and save its progress."""
        # Flush once for all: this bounds the speed of workers that wait for each other's progress.
        changes = [self._publish_reached(name, partition) for name, partition in self._fold.partitions.items()]
        if any(changes):
            self._outputs.flush()
        for name, partition in self._fold.partitions.items():
            standing = self._standing(name)
            # The dead letters have been flushed: a later owner does not write them again.
            last_letter = self._last_letters.pop(name, None)
            if self._standings.get(name) == standing and last_letter is None and name not in self._new_decisions:
                continue
            partition.progress.refused = max(partition.progress.refused, last_letter or START)
            oldest = partition.forget_ids()
            views = self._views[name.stream]
            decisions = encode_decisions(self._decisions[name]) if name in self._new_decisions else b""
            self._partitions.save(
                name,
                standing.epoch,
                partition.progress,
                standing.reached,
                partition.unsaved,
                oldest,
                views,
                partition.stream.ids,
                decisions,
            )
            self._new_decisions.discard(name)
            partition.unsaved.clear()
            partition.evicted.clear()
            self._standings[name] = standing
        self._note_for_others()

    def _note_for_others(self) -> None:
        """Copy what other threads ask for: they must not read state while it changes."""
        partitions = self._fold.partitions.values()
        # Count only partitions that have had an event: a stream without events cannot be behind.
        frontier = min(
            (partition.frontier_out() for partition in partitions if partition.last[0] >= 0), default=UNKNOWN
        )
        self._frontier = frontier if frontier > UNKNOWN else None
        self._newest = max((partition.newest for partition in partitions if partition.newest > UNKNOWN), default=None)
        now = self._clock()
        self._statuses = {name: _status(partition, now) for name, partition in self._fold.partitions.items()}

    def _standing(self, partition: PartitionId) -> Standing:
        state = self._fold.partitions[partition]
        return Standing(self._epochs[partition], self._fold.reached(partition), Position(*state.progress.done))

    def _publish_reached(self, name: PartitionId, partition: Partition) -> bool:
        reached = {model.name: self._reached(name, model.name) for model in partition.models}
        models = [model for model in partition.models if self._published.get((model.name, name)) != reached[model.name]]
        for model in models:
            self._outputs.reached(model, name, reached[model.name])
            self._published[model.name, name] = reached[model.name]
        return bool(models)

    def _reached(self, partition: PartitionId, model: str) -> OutputReached:
        frontier = self._fold.frontier_out(partition, model)
        return OutputReached(frontier, self._fold.watermark_out(partition, model))

    def _use(self, rows: RowsId, keys: Iterable[str]) -> None:
        recent = self._recent.setdefault(rows, {})
        for key in keys:
            recent.pop(key, None)
            recent[key] = None

    def _forget(self) -> None:
        for rows, recent in self._recent.items():
            row_set = self._fold.rows[rows]
            limit = self._max_rows_of(row_set)
            excess = len(row_set) - limit
            if excess > 0:
                oldest = [key for key in recent if key in row_set][: excess + limit // 10]
                row_set.forget(oldest)
                for key in oldest:
                    del recent[key]

    def _max_rows_of(self, row_set: RowSet) -> int:
        """Return how many rows of a view and partition memory may hold: all of them share the bytes evenly."""
        share = self._max_bytes // max(len(self._fold.rows), 1)
        row_bytes = row_set.row_bytes + row_set.tick_bytes // max(len(row_set), _FEW)
        return min(self._max_rows, max(share // row_bytes, _FEW))


def _status(partition: Partition, now: int) -> PartitionStatus:
    waiting = partition.waiting
    return PartitionStatus(
        owned=True,
        waiting=partition.backlog,
        oldest_s=0.0 if waiting is None else max(now - int(waiting.since[0]), 0) / 1e6,
        watermark=None if partition.watermark < FIRST_TIME else partition.watermark,
        resting=partition.frontier >= RESTING,
    )


def _epochs(standings: Mapping[PartitionId, Standing | None]) -> dict[PartitionId, int]:
    return {partition: 0 if standing is None else standing.epoch for partition, standing in standings.items()}
