"""Causes of the differences between recomputed and logged vectors."""

from __future__ import annotations

import numpy as np

from headrace.engine.arrays import Ints
from headrace.engine.kernel.assembly import Assembled
from headrace.engine.kernel.partition import PartitionId
from headrace.history.alterations import NONE
from headrace.history.differences import Columns
from headrace.history.replay import Replay, Replayed
from headrace.wire.position import START, Position

# Number of altered events that are named.
_NAMED = 3


class Causes:
    """Finds causes: recomputes the differing vectors under other conditions.

    Parameters
    ----------
    rows
        Rows of the vectors that differ.
    """

    def __init__(self, replay: Replay, columns: Columns, replayed: Replayed, rows: Ints) -> None:
        self._replay = replay
        self._columns = columns
        self._replayed = replayed
        self._places = {row: place for place, row in enumerate(rows.tolist())}
        logged = replayed.logged.take(rows)
        has_rows = rows.size > 0
        #: Recomputed completely from the unaltered streams; None if that is what was replayed.
        self._complete = replay.recompute(logged, True, NONE).made if has_rows and replay.alterations else None
        #: Recomputed at the recorded cuts from the unaltered streams; None if that is what was replayed.
        self._at_cut = replay.recompute(logged, False, NONE).made if has_rows and replay.complete else None

    def why(self, row: int, feature: int) -> str:
        """Return the cause of one difference."""
        place, vectors, recomputed = self._places[row], self._replayed.logged.vectors, self._replayed.again.made
        if self._complete is not None and self._value(self._complete, place, feature) != self._value(
            recomputed, row, feature
        ):
            return self._altered(feature)
        if self._at_cut is None:
            return self._at_its_cut(feature, vectors.cuts[row], recomputed.cuts[row])
        value = self._columns.value(vectors.numbers, vectors.categories, row, feature)
        if self._value(self._at_cut, place, feature) != value:
            return self._at_its_cut(feature, vectors.cuts[row], self._at_cut.cuts[place])
        cut = recomputed.cuts[row] if self._complete is None else self._complete.cuts[place]
        return self._late(feature, vectors.cuts[row], cut)

    def lost(self, row: int) -> str:
        """Return why a vector no longer has an event."""
        logged = self._replayed.logged
        stream = self._replay.model.stream
        if logged.vectors.ids[row] in self._replay.alterations.altered.get(stream, ()):
            return f"its event was left out of {stream}, or altered so that it is not taken"
        return f"{stream} has no event at {_text(logged.positions[row])} any more"

    def _value(self, vectors: Assembled, row: int, feature: int) -> float | str | None:
        return self._columns.value(vectors.numbers, vectors.categories, row, feature)

    def _altered(self, feature: int) -> str:
        loop, reads, altered = self._replay.loop, self._replay.assembler.reads, self._replay.alterations.altered
        streams = {loop.view(reads[read].view).stream for read in self._columns.reads[feature]}
        streams.add(self._replay.model.stream)
        events = [f"{stream} {event_id}" for stream in sorted(streams) for event_id in sorted(altered.get(stream, ()))]
        more = f" and {len(events) - _NAMED:,} more" if len(events) > _NAMED else ""
        return f"altered event: {', '.join(events[:_NAMED])}{more}"

    def _late(self, feature: int, recorded: Ints, cut: Ints) -> str:
        for source, before, now in self._rows(feature, recorded, cut):
            if before < now:
                cut_end = f"its cut of {_name(source)} ends at {_text(before)}"
                return f"late event: {cut_end}, the row went on to {_text(now)}"
        return "late event: not all was folded that it waited for"

    def _at_its_cut(self, feature: int, recorded: Ints, cut: Ints) -> str:
        for source, before, now in self._rows(feature, recorded, cut):
            if before != now:
                begins = self._replay.streams.begins.get(source, START)
                if before < begins:
                    return f"{_name(source)} is retained from {_text(begins)} on, its cut ends at {_text(before)}"
                return f"another event: {_name(source)} has none of its entity at {_text(before)}, where its cut ends"
        if not self._columns.reads[feature]:
            return "another event: its own has another value"
        return "other events: what its cut holds has other values"

    def _rows(self, feature: int, recorded: Ints, cut: Ints) -> list[tuple[PartitionId, Position, Position]]:
        """Return the rows that a feature needs: their source, and their positions in two cuts."""
        assembler, loop = self._replay.assembler, self._replay.loop
        firsts = np.cumsum([0, *assembler.partitions]).tolist()
        return [
            (
                PartitionId(loop.view(assembler.reads[read].view).stream, partition),
                Position(*recorded[firsts[read] + partition].tolist()),
                Position(*cut[firsts[read] + partition].tolist()),
            )
            for read in self._columns.reads[feature]
            for partition in range(assembler.partitions[read])
        ]


def _name(source: PartitionId) -> str:
    return source.stream if source.partition == 0 else f"{source.stream}[{source.partition}]"


def _text(position: Position | Ints) -> str:
    return ":".join(map(str, Position(*(int(part) for part in position)))) if position[0] >= 0 else "its beginning"
