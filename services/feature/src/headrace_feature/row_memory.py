"""The rows of owned partitions in memory: loaded when needed, written through, and dropped when there are too many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from headrace.engine.kernel.fold import Changed, Fold, Plan
from headrace.engine.kernel.partition import PartitionId, RowsId
from headrace.engine.kernel.rows import RowSet, epoch_of, state_words
from headrace.errors import Unreadable
from headrace.runtime.redis.rows import RowStore, Write
from headrace.runtime.redis.status import Heartbeat
from headrace_feature.ownership import Ownership

#: Rows of a view and partition that stay in memory whatever their size.
_FEW = 1_000


class WrongRow(NamedTuple):
    """A row in the store that cannot be read."""

    rows: RowsId
    key: str
    state: bytes
    reason: Unreadable


class LoadedRows(NamedTuple):
    """Rows that a plan needs: those of partitions of other workers, by entity key, and those that cannot be read."""

    remote: dict[RowsId, dict[str, bytes]]
    wrong: list[WrongRow]


class RowMemory:
    """The rows that a worker holds in memory.

    Parameters
    ----------
    max_rows, max_bytes
        Rows of one view and partition held in memory, and bytes of all rows; beyond them, the least recently used are
        dropped.
    """

    def __init__(
        self,
        fold: Fold,
        store: RowStore,
        ownership: Ownership,
        heartbeat: Heartbeat,
        *,
        max_rows: int,
        max_bytes: int,
    ) -> None:
        self._fold = fold
        self._store = store
        self._ownership = ownership
        self._heartbeat = heartbeat
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._former_views: frozenset[str] = frozenset()
        self.name_views()

    def name_views(self) -> None:
        """Note the views of the fold, and forget the rows of those that it no longer has."""
        self._former_views = frozenset(view.name for view in self._fold.loop.views if view.stored != view.name)
        for owned in self._ownership.partitions.values():
            owned.recent = {rows: keys for rows, keys in owned.recent.items() if rows in self._fold.rows}

    def load(self, plan: Plan) -> LoadedRows:
        """Load the rows that a plan needs, those of owned partitions into memory."""
        loaded = LoadedRows({}, [])
        for rows, states in (self._store.load(plan.needed) if plan.needed else {}).items():
            row_set = self._fold.rows.get(rows)
            if row_set is None:
                loaded.remote[rows] = self._read_remote(rows, states, loaded.wrong)
            else:
                self._read_owned(rows, row_set, states, loaded.wrong)
        return loaded

    def _read_remote(self, rows: RowsId, states: dict[str, bytes], wrong_rows: list[WrongRow]) -> dict[str, bytes]:
        layout = self._fold.layout(rows.view)
        readable: dict[str, bytes] = {}
        for key, state in states.items():
            try:
                state_words(layout, state)
            except Unreadable as error:
                wrong_rows.append(WrongRow(rows, key, state, error))
            else:
                readable[key] = state
        return readable

    def _read_owned(self, rows: RowsId, row_set: RowSet, states: dict[str, bytes], wrong_rows: list[WrongRow]) -> None:
        owner = self._ownership.owner_of(rows)
        keys: list[str] = []
        for key, state in states.items():
            if state and epoch_of(state) < owner.oldest_epoch:  # an empty row is damaged, whoever wrote it
                continue
            try:
                row_set.add(key, state)
            except Unreadable as error:
                wrong_rows.append(WrongRow(rows, key, state, error))
            else:
                keys.append(key)
        owner.use_rows(rows, keys)

    def discard(self, wrong_rows: Sequence[WrongRow]) -> None:
        """Remove rows that cannot be read from the store."""
        for row in wrong_rows:
            self._store.discard(row.rows, row.key, row.state)

    def write(self, changed: Sequence[Changed]) -> None:
        """Write changed rows to the store.

        Raises
        ------
        Fenced
            Another worker has taken over one of their partitions.
        """
        by_partition: dict[PartitionId, list[Write]] = {}
        for rows, slots in changed:
            row_set = self._fold.rows[rows]
            owner = self._ownership.owner_of(rows)
            states = row_set.dump(slots, owner.epoch)
            keys = [row_set.key(slot) for slot in slots]
            by_partition.setdefault(owner.id, []).append(Write(rows, dict(zip(keys, states, strict=True))))
            self._heartbeat.count("rows", len(slots))
            if rows.view in self._former_views:
                self._heartbeat.count("former_rows", len(slots))
            owner.use_rows(rows, keys)
        for source, writes in by_partition.items():
            self._store.write(writes, str(source), self._ownership.partitions[source].epoch)

    def evict(self) -> None:
        """Drop the least recently used rows beyond the bounds."""
        for owned in self._ownership.partitions.values():
            for rows, recent in owned.recent.items():
                row_set = self._fold.rows[rows]
                limit = self.limit(row_set)
                excess = len(row_set) - limit
                if excess > 0:
                    oldest = [key for key in recent if key in row_set][: excess + limit // 10]
                    row_set.forget(oldest)
                    for key in oldest:
                        del recent[key]

    def limit(self, row_set: RowSet) -> int:
        """Return how many rows of a view and partition memory may hold: all of them share the bytes evenly."""
        share = self._max_bytes // max(len(self._fold.rows), 1)
        row_bytes = row_set.row_bytes + row_set.tick_bytes // max(len(row_set), _FEW)
        return min(self._max_rows, max(share // row_bytes, _FEW))
