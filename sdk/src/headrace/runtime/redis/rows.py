"""Rows in Redis: one hash per entity, one field per view and partition.

A field is replaced only by newer state of its own partition: the script compares the fence (epoch and
position) at the start of the field itself, so no second key is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import redis

from headrace.definition import LoopDefinition, ViewDefinition
from headrace.engine.kernel.partition import PartitionId, RowsId
from headrace.errors import Fenced, Unreadable
from headrace.runtime.redis.connection import store_errors

# Compare byte by byte: Lua's own comparison depends on the server's locale.
_WRITE = """
local refused = 0
for i = 2, #ARGV, 2 do
  local new, old = ARGV[i + 1], redis.call('HGET', KEYS[1], ARGV[i])
  local order = 1
  if old and #old >= 28 then
    order = 0
    for at = 1, 28 do
      local x, y = new:byte(at), old:byte(at)
      if x ~= y then
        if x > y then order = 1 elseif at <= 8 then order = -1 end
        break
      end
    end
  end
  if order == 1 then redis.call('HSET', KEYS[1], ARGV[i], new) end
  if order == -1 then refused = refused + 1 end
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return refused
"""


# Drop fields of unknown views, those that an owner before the floor of their view and partition wrote, and all of a key
# that is no hash.
_DROP = """
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then return redis.call('DEL', KEYS[1]) end
local floors, dropped = {}, 0
for i = 1, #ARGV, 2 do floors[ARGV[i]] = ARGV[i + 1] end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local floor, older = floors[field], true
  if floor then
    local row = redis.call('HGET', KEYS[1], field)
    older = #row < 8
    for at = 1, older and 0 or 8 do
      local x, y = row:byte(at), floor:byte(at)
      if x ~= y then older = x < y break end
    end
  end
  if older then dropped = dropped + redis.call('HDEL', KEYS[1], field) end
end
return dropped
"""


# Replace a key of another type by empty rows, which nobody can read: each partition that had a row there must notice.
_REPLACE = """
local found = redis.call('TYPE', KEYS[1]).ok
if found == 'hash' or found == 'none' then return 0 end
redis.call('DEL', KEYS[1])
for i = 2, #ARGV do redis.call('HSET', KEYS[1], ARGV[i], '') end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""


_DISCARD = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
return redis.call('HDEL', KEYS[1], ARGV[1])
"""


def row_key(loop: str, entity: str, key: str) -> str:
    """Return the key of one entity's hash."""
    return f"headrace:{loop}:row:{entity}:{key}"


def row_field(view: ViewDefinition, partition: int) -> str:
    """Return the field of one view and partition; a changed view has another field."""
    return f"{view.stored}:{view.hash}@{partition}"


def _chunks(keys: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    iterator = iter(keys)
    while chunk := list(islice(iterator, size)):
        yield chunk


class Write(NamedTuple):
    """New states of rows of one row set: bytes by entity key."""

    rows: RowsId
    states: Mapping[str, bytes]


class RowStore:
    """Loads and writes rows of one loop."""

    def __init__(self, store: redis.Redis, loop: LoopDefinition) -> None:
        self._store = store
        self._loop = loop
        self._sha = ""
        self._discard = store.register_script(_DISCARD)
        self._replace = store.register_script(_REPLACE)
        self._views = {view.name: view for view in loop.views}
        self._fields: dict[RowsId, str] = {}
        # All views of an entity share one hash, which expires as a whole: it lives as long as any of them asks (ms).
        self._lives = {view.entity: 0 for view in loop.views}
        for view in loop.views:
            self._lives[view.entity] = max(self._lives[view.entity], view.lifetime // 1_000)

    def drop_older(self, oldest_epochs: Mapping[PartitionId, int]) -> int:
        """Drop the rows that count as lost, while owners write new ones; return how many.

        Parameters
        ----------
        oldest_epochs
            By partition, the first epoch whose rows stay.
        """
        arguments: list[str | bytes] = []
        for view in self._loop.views:
            for partition, oldest_epoch in oldest_epochs.items():
                if partition.stream == view.stream:
                    arguments += (row_field(view, partition.partition), oldest_epoch.to_bytes(8, "big"))
        drop, dropped = self._store.register_script(_DROP), 0
        with store_errors():
            for keys in _chunks(self._store.scan_iter(row_key(self._loop.name, "*", "*"), count=1_000), 1_000):
                pipe = self._store.pipeline(transaction=False)
                for key in keys:
                    drop(keys=[key], args=arguments, client=pipe)
                dropped += sum(pipe.execute())
        return dropped

    def load(self, requests: Mapping[RowsId, Sequence[str]]) -> dict[RowsId, dict[str, bytes]]:
        """Return the stored states of rows; missing rows are left out. This takes one round trip.

        If a key holds another type, all rows of its entity count as damaged, and are returned empty.
        """
        try:
            return self._load(requests)
        except Unreadable:
            self._replace_wrong_keys(requests)
            return self._load(requests)

    def _load(self, requests: Mapping[RowsId, Sequence[str]]) -> dict[RowsId, dict[str, bytes]]:
        pipe = self._store.pipeline(transaction=False)
        for rows, keys in requests.items():
            entity, field = self._views[rows.view].entity, self._field(rows)
            for key in keys:
                pipe.hget(row_key(self._loop.name, entity, key), field)
        with store_errors():
            results = iter(pipe.execute())
        return {
            rows: {key: value for key, value in zip(keys, results, strict=False) if value is not None}
            for rows, keys in requests.items()
        }

    def _replace_wrong_keys(self, requests: Mapping[RowsId, Sequence[str]]) -> None:
        pipe = self._store.pipeline(transaction=False)
        for entity, key in {(self._views[rows.view].entity, key) for rows, keys in requests.items() for key in keys}:
            arguments: list[str | int] = [self._lives[entity], *self._entity_fields(entity)]
            self._replace(keys=[row_key(self._loop.name, entity, key)], args=arguments, client=pipe)
        with store_errors():
            pipe.execute()

    def _entity_fields(self, entity: str) -> list[str]:
        return [
            row_field(view, partition)
            for view in self._loop.views
            if view.entity == entity
            for partition in range(self._loop.stream(view.stream).partitions)
        ]

    def discard(self, rows: RowsId, key: str, state: bytes) -> None:
        """Remove a row if it is still as it was loaded."""
        arguments: list[str | bytes] = [self._field(rows), state]
        with store_errors():
            self._discard(keys=[row_key(self._loop.name, self._views[rows.view].entity, key)], args=arguments)

    def write(self, writes: Sequence[Write], work: str, epoch: int) -> None:
        """Write rows in one round trip.

        Raises
        ------
        Fenced
            A newer owner has written one of the rows.
        """
        hashes: dict[tuple[str, str], list[str | bytes]] = {}
        for rows, states in writes:
            entity, field = self._views[rows.view].entity, self._field(rows)
            for key, state in states.items():
                hashes.setdefault((entity, key), []).extend((field, state))
        if not hashes:
            return
        with store_errors():
            results = self._run(hashes)
        if any(results):
            raise Fenced(work, epoch)

    def _run(self, hashes: Mapping[tuple[str, str], list[str | bytes]]) -> list[int]:
        for _ in range(2):
            self._sha = self._sha or str(self._store.script_load(_WRITE))
            pipe = self._store.pipeline(transaction=False)
            for (entity, key), arguments in hashes.items():
                pipe.evalsha(self._sha, 1, row_key(self._loop.name, entity, key), self._lives[entity], *arguments)
            try:
                return list(pipe.execute())
            except redis.exceptions.NoScriptError:
                # The store was restarted; repeating writes is harmless.
                self._sha = ""
        raise redis.RedisError("the store keeps forgetting its scripts")

    def _field(self, rows: RowsId) -> str:
        if rows not in self._fields:
            self._fields[rows] = row_field(self._views[rows.view], rows.partition)
        return self._fields[rows]
