"""What the store keeps of each partition: its owner's epoch, how far it is done, the ids it saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import redis

from headrace.errors import Fenced
from headrace.kernel.partition import PartitionId, Progress
from headrace.log.position import Position
from headrace.store.connection import store_errors
from headrace.store.fences import Fences, fence_key

# The epoch is compared as text: a number of Lua loses integers over 2^53.
_SAVE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], 'done', ARGV[2], 'emitted', ARGV[3], 'newest', ARGV[4], 'frontier', ARGV[5])
for i = 7, #ARGV, 2 do redis.call('ZADD', KEYS[3], ARGV[i], ARGV[i + 1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[6])
return 1
"""
_EMITTED = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], 'emitted', ARGV[2])
return 1
"""


class TakenOver(NamedTuple):
    """What a new owner starts from: its epoch, the progress and the ids seen with their event times."""

    epoch: int
    progress: Progress
    seen: dict[str, int]


class Standing(NamedTuple):
    """What an owner tells the others: its frontier, and up to where everything is in the rows."""

    frontier: int
    done: Position


class PartitionStore:
    """Takes partitions over and saves their progress, fenced by epoch."""

    def __init__(self, store: redis.Redis, loop: str) -> None:
        self._store = store
        self._loop = loop
        self._fences = Fences(store, loop)
        self._save = store.register_script(_SAVE)
        self._record = store.register_script(_EMITTED)

    def take_over(self, partition: PartitionId) -> TakenOver:
        """Become the partition's owner: from here on, no earlier owner can write."""
        epoch = self._fences.acquire(_work(partition))
        _, state, ids = self._keys(partition)
        with store_errors():
            found: dict[bytes, bytes] = self._store.hgetall(state)  # type: ignore[assignment]
            times: list[tuple[bytes, float]] = self._store.zrange(ids, 0, -1, withscores=True)  # type: ignore[assignment]
        seen = {own.decode(): int(time) for own, time in times}
        if not found:
            return TakenOver(epoch, Progress(), seen)
        progress = Progress(
            Position.from_bytes(found[b"done"]),
            Position.from_bytes(found[b"emitted"]),
            int(found[b"newest"]),
        )
        return TakenOver(epoch, progress, seen)

    def record_emitted(self, partition: PartitionId, epoch: int, progress: Progress) -> None:
        """The vectors up to `progress.emitted` are out.

        Raises
        ------
        Fenced
            Another process owns the partition.
        """
        arguments: list[int | bytes] = [epoch, Position(*progress.emitted).to_bytes()]
        with store_errors():
            done = self._record(keys=self._keys(partition)[:2], args=arguments)
        if not done:
            raise Fenced(str(partition), epoch)

    def save(
        self, partition: PartitionId, epoch: int, progress: Progress, frontier: int, ids: Mapping[str, int], oldest: int
    ) -> None:
        """Everything up to `progress.done` is in the rows.

        Parameters
        ----------
        frontier
            What other workers may rely on.
        ids, oldest
            Ids seen since the last save, with their event times; older ones than `oldest` are dropped.

        Raises
        ------
        Fenced
            Another process owns the partition.
        """
        arguments: list[str | int | bytes] = [
            epoch,
            Position(*progress.done).to_bytes(),
            Position(*progress.emitted).to_bytes(),
            progress.newest,
            frontier,
            oldest,
        ]
        for own, time in ids.items():
            arguments += (time, own)
        with store_errors():
            done = self._save(keys=self._keys(partition), args=arguments)
        if not done:
            raise Fenced(str(partition), epoch)

    def standing(self, partition: PartitionId) -> Standing | None:
        """Where the partition's owner stands, as it last said; None where none has said anything yet."""
        with store_errors():
            found: list[bytes | None] = self._store.hmget(self._keys(partition)[1], ("frontier", "done"))  # type: ignore[assignment]
        frontier, done = found
        return None if frontier is None or done is None else Standing(int(frontier), Position.from_bytes(done))

    def _keys(self, partition: PartitionId) -> list[str]:
        epoch = fence_key(self._loop, _work(partition))
        return [epoch, epoch.replace(":epoch", ":state"), epoch.replace(":epoch", ":ids")]


def _work(partition: PartitionId) -> str:
    return f"fold:{partition.stream}:{partition.partition}"


class Durability:
    """Waits until the store has on disk what was written before.

    Parameters
    ----------
    store
        A connection of its own is taken: the wait must not hold up the writes that follow.
    """

    def __init__(self, store: redis.Redis, loop: str) -> None:
        self._store = store
        self._key = f"headrace:{loop}:durable"

    def wait(self, timeout_ms: int = 10_000) -> bool:
        """Whether all writes that were answered before this call are in the append-only file, synced."""
        with store_errors():
            pipe = self._store.pipeline(transaction=False)
            # A write of our own stands behind all earlier ones; when it is on disk, they are.
            pipe.incr(self._key)
            pipe.execute_command("WAITAOF", 1, 0, timeout_ms)  # type: ignore[no-untyped-call]
            _, synced = pipe.execute()
        return bool(synced[0] >= 1)
