"""One worker's fold and assemble: the events of its partitions, merged in event time.

It is pure: it takes events, and returns the rows that it needs, the vectors that it made and the rows that changed.

Events are folded in the order of positions. Vectors are assembled in the order of positions too, each once the
watermark of every partition has passed its tick, or its model's `max_delay` is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from headrace.definition import LoopDefinition, ModelDefinition, ViewDefinition
from headrace.engine.arrays import Ints
from headrace.engine.kernel.assembly import Assembled, Assembler, RowRead, read_stored
from headrace.engine.kernel.layout import Layout
from headrace.engine.kernel.partition import Partition, PartitionId, Progress, Reached, RowsId, Waiting, remembered
from headrace.engine.kernel.preparation import Folding, Folds, texts_of
from headrace.engine.kernel.rows import Reads, RowSet
from headrace.engine.kernel.timeline import Timeline
from headrace.watermark import ENDED, UNKNOWN


@dataclass
class Plan:
    """Work of the next step.

    Attributes
    ----------
    needed
        Keys of the rows that are not in memory, by row set.
    """

    folds: dict[PartitionId, int]
    vectors: dict[tuple[str, PartitionId], range]
    prepared: dict[RowsId, Folds]
    reads: dict[tuple[str, PartitionId, RowRead], list[str | None]]
    needed: dict[RowsId, list[str]]

    @property
    def empty(self) -> bool:
        return not self.folds and not self.vectors


class MadeVectors(NamedTuple):
    """Vectors of one model from one partition, in the order of positions.

    Attributes
    ----------
    columns
        The model whose features the vectors hold: more than those of `model` if others are made along with them.
    """

    model: ModelDefinition
    columns: ModelDefinition
    source: PartitionId
    ids: list[str]
    times: Ints
    positions: Ints
    assembled: Assembled
    entities: list[str | None] | None = None


class Changed(NamedTuple):
    """Rows of one row set that a step changed."""

    rows: RowsId
    slots: list[int]


@dataclass
class Step:
    """Results of one step."""

    vectors: list[MadeVectors]
    changed: list[Changed]
    folded: int


class Fold:
    """Fold and assemble of one worker.

    Parameters
    ----------
    step_events
        Maximum number of events of a partition that are folded in one step.
    wide
        By name, the models whose vectors hold further features after their own.
    """

    def __init__(
        self, loop: LoopDefinition, step_events: int = 5_000, wide: Mapping[str, ModelDefinition] | None = None
    ) -> None:
        self.loop = loop
        self.partitions: dict[PartitionId, Partition] = {}
        self.rows: dict[RowsId, RowSet] = {}
        self._step_events = step_events
        self._layouts = {view.name: Layout(view) for view in loop.views}
        self._foldings = {view.name: Folding(view, self._layouts[view.name]) for view in loop.views}
        self.models = tuple(model for model in loop.models if model.vectors == "stream")
        wide = wide or {}
        self._assemble(wide)
        assemblers = {model.name: Assembler(loop, model) for model in self.models if model.name in wide}
        self._cuts = {name: sum(assembler.partitions) for name, assembler in (self._assemblers | assemblers).items()}
        self._lateness = max((loop.stream(name).lateness for name in self.streams), default=0)
        self._lead = min((view.keep for view in loop.views), default=ENDED) - self._lateness
        coarsest = max((view.resolution for view in loop.views), default=1)
        self._resolutions = {
            name: {layout.view.resolution for layout in assembler.layouts.values()} or {coarsest}
            for name, assembler in self._assemblers.items()
        }

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that views fold or models predict on, in the order of the loop."""
        names = {view.stream for view in self.loop.views} | {model.stream for model in self.models}
        return tuple(stream.name for stream in self.loop.streams if stream.name in names)

    def own(self, partition: PartitionId, progress: Progress, seen: Mapping[str, int]) -> Partition:
        """Take over a partition at the progress that the store holds."""
        stream = self.loop.stream(partition.stream)
        owned = Partition(
            stream,
            progress,
            dict(seen),
            tuple(model for model in self.models if model.stream == stream.name),
            newest=progress.newest,
            watermark=progress.watermark,
            ended=progress.ended,
            unread=True,
            last=progress.done,
        )
        self.partitions[partition] = owned
        for view in self._views_of(stream.name):
            self.rows[RowsId(view.name, partition.partition)] = RowSet(self._layouts[view.name])
        return owned

    def layout(self, view: str) -> Layout:
        """Return the memory layout of a view's rows."""
        return self._layouts[view]

    def disown(self, partition: PartitionId) -> None:
        """Give up a partition: forget its events and rows."""
        del self.partitions[partition]
        for view in self._views_of(partition.stream):
            del self.rows[RowsId(view.name, partition.partition)]

    def narrow(self, loop: LoopDefinition, wide: Mapping[str, ModelDefinition]) -> None:
        """Continue with fewer views, and fewer features beyond the models' own."""
        self.loop = loop
        self._assemble(wide)
        names = {view.name for view in loop.views}
        for rows in [rows for rows in self.rows if rows.view not in names]:
            del self.rows[rows]

    def _assemble(self, wide: Mapping[str, ModelDefinition]) -> None:
        self._assemblers = {model.name: Assembler(self.loop, wide.get(model.name, model)) for model in self.models}

    def plan(self, others: Sequence[Reached] = (), now: int = 0) -> Plan:
        """Plan what can be done now.

        Parameters
        ----------
        others
            Progress of the partitions that other workers own.
        now
            Wall-clock time, for models whose vectors wait for a limited time only.
        """
        watermarks = [partition.release_watermark for partition in self.partitions.values()]
        release_watermark = min([*watermarks, *(other.folded for other in others)], default=UNKNOWN)
        # Another worker's vector reads our rows as of its time: they may be ahead only as far as they keep ticks.
        # Our own vectors are made in time order, between the folds.
        furthest = min([release_watermark, *(other.out for other in others)], default=UNKNOWN) + self._lead
        plan = Plan({}, {}, {}, {}, {})
        # If one step is too short for a partition's backlog, no other partition may run ahead of its vectors.
        end = min(
            [release_watermark, *(self._end_of_step(partition) for partition in self.partitions.values())],
            default=UNKNOWN,
        )
        for name, partition in self.partitions.items():
            if partition.waiting is None:
                continue
            overdue = max((_overdue(partition, model, now) for model in partition.models), default=0)
            self._plan_folds(plan, name, partition, min(end + self._lead, furthest, ENDED), overdue=overdue)
        # If a partition could not fold all that it may, no vector may read beyond what is folded.
        reach = min(
            [
                release_watermark,
                *(_reach(partition, plan.folds.get(name, 0)) for name, partition in self.partitions.items()),
            ]
        )
        for name, partition in self.partitions.items():
            for model in partition.models:
                self._plan_vectors(plan, name, partition, model, reach=reach, now=now)
        return plan

    def execute(self, plan: Plan, remote: Mapping[RowsId, Mapping[str, bytes]] | None = None) -> Step:
        """Fold and assemble as planned, after the rows that the plan needs have been added.

        Parameters
        ----------
        remote
            The stored rows of partitions that other workers own, by entity key.
        """
        views = {view.name: view for view in self.loop.views}
        results: dict[tuple[str, PartitionId, RowRead, int], Reads] = {}
        changed: list[Changed] = []
        for view in views.values():
            for partition in range(self.loop.stream(view.stream).partitions):
                self._run_view(
                    plan,
                    view,
                    partition,
                    results,
                    changed=changed,
                    remote=(remote or {}).get(RowsId(view.name, partition)),
                )
        vectors = [self._make(plan, model, name, span, results=results) for (model, name), span in plan.vectors.items()]
        count = sum(plan.folds.values())
        for name, state in self.partitions.items():
            self._advance(plan, name, state)
        return Step(vectors, changed, count)

    def settle(self) -> None:
        """Count as done what needs no step: markers and refused events."""
        for partition in self.partitions.values():
            partition.settle()

    def reached(self, partition: PartitionId) -> Reached:
        """Return the progress that other workers may rely on."""
        state = self.partitions[partition]
        out = [self.release_watermark_out(partition, model.name) for model in state.models]
        return Reached(self.release_watermark_folded(partition), min(out, default=state.release_watermark))

    def release_watermark_folded(self, partition: PartitionId) -> int:
        """Return the time before which no event of this partition is still to be folded.

        Vectors of other partitions wait for it. The partition's own vectors may still wait: if they counted, two
        workers would wait for each other.
        """
        state = self.partitions[partition]
        return min(state.release_watermark, _reach(state, 0))

    def release_watermark_out(self, partition: PartitionId, model: str = "") -> int:
        """Return the time before which no vector of this partition (and this model) is to come."""
        return self.partitions[partition].release_watermark_out(model)

    def watermark_out(self, partition: PartitionId, model: str) -> int:
        """Return `release_watermark_out` as if the partition were neither idle nor ended, for expiry by event time."""
        return self.partitions[partition].watermark_out(model)

    def _views_of(self, stream: str) -> tuple[ViewDefinition, ...]:
        return tuple(view for view in self.loop.views if view.stream == stream)

    def _plan_folds(self, plan: Plan, name: PartitionId, partition: Partition, furthest: int, *, overdue: int) -> None:
        waiting = partition.waiting
        assert waiting is not None
        until = int(np.searchsorted(waiting.keys, furthest, side="right"))
        count = min(max(until, overdue) - waiting.folded, self._step_events)
        if count <= 0:
            return
        plan.folds[name] = count
        events = waiting.columns.take(range(waiting.folded, waiting.folded + count))
        for view in self._views_of(name.stream):
            rows = RowsId(view.name, name.partition)
            folds = self._foldings[view.name].prepare(events)
            plan.prepared[rows] = folds
            self._need(plan, rows, folds.keys)

    def _end_of_step(self, partition: Partition) -> int:
        """Return the time before which one full step leaves no event unfolded."""
        waiting = partition.waiting
        end = waiting.folded + self._step_events if waiting is not None else 0
        return ENDED if waiting is None or end >= len(waiting) else int(waiting.watermarks[end])

    def _plan_vectors(
        self, plan: Plan, name: PartitionId, state: Partition, model: ModelDefinition, *, reach: int, now: int
    ) -> None:
        waiting = state.waiting
        if waiting is None:
            return
        # A read covers a row up to the last tick of the row's own view.
        ticks = np.max([waiting.keys // each * each for each in self._resolutions[model.name]], axis=0)
        ready = max(int(np.searchsorted(ticks, reach, side="right")), _overdue(state, model, now))
        span = range(waiting.made.get(model.name, 0), min(ready, waiting.folded + plan.folds.get(name, 0)))
        if not span:
            return
        plan.vectors[model.name, name] = span
        events = waiting.columns.take(span)
        assembler = self._assemblers[model.name]
        for read in assembler.reads:
            keys = assembler.keys(events, read)
            plan.reads[model.name, name, read] = keys
            for partition in range(self.loop.stream(self.loop.view(read.view).stream).partitions):
                self._need(plan, RowsId(read.view, partition), keys)

    def _need(self, plan: Plan, rows: RowsId, keys: Iterable[str | None]) -> None:
        row_set = self.rows.get(rows)
        missing = [key for key in dict.fromkeys(keys) if key is not None and (row_set is None or key not in row_set)]
        if missing:
            pending = plan.needed.get(rows, [])
            plan.needed[rows] = list(dict.fromkeys([*pending, *missing]))

    def _run_view(
        self, plan: Plan, view: ViewDefinition, partition: int,
        results: dict[tuple[str, PartitionId, RowRead, int], Reads], *, changed: list[Changed],
        remote: Mapping[str, bytes] | None,
    ) -> None:  # fmt: skip
        rows = RowsId(view.name, partition)
        reads = [(name, keys) for name, keys in plan.reads.items() if name[2].view == view.name]
        if rows not in self.rows:
            for (model, source, read), keys in reads:
                span = plan.vectors[model, source]
                as_of = self._waiting(source).columns.times[span.start : span.stop]
                states = [None if key is None else (remote or {}).get(key) for key in keys]
                results[model, source, read, partition] = read_stored(self._layouts[view.name], as_of, states)
            return
        timeline = Timeline(self.rows[rows])
        folds = plan.prepared.get(rows)
        if folds is not None:
            waiting = self._waiting(PartitionId(view.stream, partition))
            at = slice(waiting.folded, waiting.folded + len(folds.keys))
            slots = timeline.fold(folds, waiting.columns.times[at], waiting.keys[at], waiting.positions[at])
            changed.append(Changed(rows, slots))
        for (model, source, _), keys in reads:
            asking, span = self._waiting(source), plan.vectors[model, source]
            at = slice(span.start, span.stop)
            # A vector's moment has come when no event before its time can still be folded.
            timeline.read(keys, asking.columns.times[at], asking.keys[at] + self._lateness)
        for ((model, source, read), _), result in zip(reads, timeline.run(), strict=True):
            results[model, source, read, partition] = result

    def _make(
        self, plan: Plan, model: str, name: PartitionId, span: range,
        *, results: Mapping[tuple[str, PartitionId, RowRead, int], Reads],
    ) -> MadeVectors:  # fmt: skip
        state = self.partitions[name]
        waiting = self._waiting(name)
        assembler = self._assemblers[model]
        events = waiting.columns.take(span)
        parts = [
            [results[model, name, read, partition] for partition in range(partitions)]
            for read, partitions in zip(assembler.reads, assembler.partitions, strict=True)
        ]
        vectors = assembler.assemble(events, parts)
        # Do not emit again what was emitted before a restart.
        positions = waiting.positions[span.start : span.stop]
        first = _first_after(positions, state.progress.emitted)
        return MadeVectors(
            self.loop.model(model),
            assembler.model,
            name,
            events.ids[first:],
            events.times[first:],
            positions[first:],
            Assembled(
                vectors.numbers[first:],
                [column[first:] for column in vectors.categories],
                # Rows that only the further features read come last, and are not part of the model's cut.
                vectors.cuts[first:, : self._cuts[model]],
                vectors.newest[first:],
                vectors.behind if first < len(positions) else 0,
            ),
            texts_of(events.fields[assembler.model.entity])[first:] if assembler.model.entity else None,
        )

    def _advance(self, plan: Plan, name: PartitionId, partition: Partition) -> None:
        waiting = partition.waiting
        if waiting is None:
            partition.settle()
            return
        waiting.folded += plan.folds.get(name, 0)
        done = waiting.folded
        for model in partition.models:
            if (model.name, name) in plan.vectors:
                waiting.made[model.name] = plan.vectors[model.name, name].stop
            done = min(done, waiting.made.get(model.name, 0))
        if done:
            partition.progress.done = _position(waiting.positions[done - 1])
            partition.progress.newest = int(waiting.keys[done - 1])
            partition.progress.watermark = int(waiting.watermarks[done - 1])
            partition.progress.ended = False
            partition.progress.emitted = max(partition.progress.emitted, partition.progress.done)
            partition.unsaved.update(
                zip(map(remembered, waiting.columns.ids[:done]), waiting.columns.times[:done].tolist(), strict=True)
            )
            waiting.drop(done)
        if not len(waiting):
            partition.waiting = None
            partition.settle()

    def _waiting(self, name: PartitionId) -> Waiting:
        waiting = self.partitions[name].waiting
        assert waiting is not None
        return waiting


def _overdue(partition: Partition, model: ModelDefinition, now: int) -> int:
    """Return how many of the first waiting events have waited as long as the model allows."""
    if partition.waiting is None or model.max_delay is None:
        return 0
    return int(np.searchsorted(partition.waiting.since, now - model.max_delay, side="right"))


def _reach(partition: Partition, folds: int) -> int:
    """Return the time before which this many folds leave no event unfolded."""
    waiting = partition.waiting
    count = waiting.folded + folds if waiting is not None else 0
    if waiting is None or count >= len(waiting):
        return ENDED
    return int(waiting.watermarks[count])


def _position(row: Ints) -> tuple[int, int, int]:
    ledger, entry, batch = row.tolist()
    return ledger, entry, batch


def _first_after(positions: Ints, emitted: tuple[int, int, int]) -> int:
    for index, position in enumerate(positions.tolist()):
        if tuple(position) > emitted:
            return index
    return len(positions)
