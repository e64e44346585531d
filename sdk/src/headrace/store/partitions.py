"""What the store keeps of each partition: its owner's epoch, how far it is done, the ids it saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import redis

from headrace.definition import LoopDefinition
from headrace.errors import Fenced
from headrace.frontier import UNKNOWN
from headrace.kernel.partition import PartitionId, Progress, Reached
from headrace.log.position import START, Position
from headrace.store.connection import store_errors
from headrace.store.fences import RAISE_EPOCH, Fences, fence_key, fold_work

# The epoch is compared as text: a number of Lua loses integers over 2^53.
_SAVE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], 'done', ARGV[2], 'emitted', ARGV[3], 'newest', ARGV[4], 'watermark', ARGV[5],
  'ended', ARGV[6], 'folded', ARGV[7], 'out', ARGV[8], 'views', ARGV[9], 'refused', ARGV[10], 'told_in', ARGV[1])
if ARGV[13] ~= '' then redis.call('HSET', KEYS[2], 'decisions', ARGV[13]) end
for i = 14, #ARGV, 2 do redis.call('ZADD', KEYS[3], ARGV[i], ARGV[i + 1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[11])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(ARGV[12]))
return 1
"""
_EMITTED = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], 'emitted', ARGV[2])
return 1
"""


_ANEW = f"""
{RAISE_EPOCH}
local floor = redis.call('HGET', KEYS[2], 'floor')
if ARGV[6] == '1' then floor = string.format('%d', epoch) end
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('HSET', KEYS[2], 'emitted', ARGV[2], 'refused', ARGV[3], 'goal', ARGV[4], 'views', ARGV[5])
if floor then redis.call('HSET', KEYS[2], 'floor', floor) end
return epoch
"""


class TakenOver(NamedTuple):
    """What a new owner starts from.

    Attributes
    ----------
    seen
        The ids seen, with their event times.
    views
        The views whose rows hold everything up to `progress.done` (or will, once it is there again); None where
        there has been no owner.
    floor
        Rows of owners before this epoch count as lost.
    """

    epoch: int
    progress: Progress
    seen: dict[str, int]
    views: frozenset[str] | None = None
    floor: int = 0
    decisions: bytes = b""


class Standing(NamedTuple):
    """What an owner tells the others: its epoch, what they may rely on, and up to where everything is in the rows."""

    epoch: int
    reached: Reached = Reached()
    done: Position = START


def view_names(loop: LoopDefinition, stream: str) -> frozenset[str]:
    """The views that fold a stream, as the store keeps them; a changed one has another name."""
    return frozenset(f"{own.stored}:{own.hash}" for own in loop.views if own.stream == stream)


class PartitionStore:
    """Takes partitions over and saves their progress, fenced by epoch."""

    def __init__(self, store: redis.Redis, loop: str) -> None:
        self._store = store
        self._loop = loop
        self._fences = Fences(store, loop)
        self._save = store.register_script(_SAVE)
        self._record = store.register_script(_EMITTED)
        self._anew = store.register_script(_ANEW)

    def known(self, partition: PartitionId) -> bool:
        """Whether it has ever had an owner, as far as the store remembers."""
        return self._fences.known(_work(partition))

    def take_over(self, partition: PartitionId) -> TakenOver:
        """Become the partition's owner: from here on, no earlier owner can write."""
        epoch = self._fences.acquire(_work(partition))
        _, state, ids = self._keys(partition)
        with store_errors():
            found: dict[bytes, bytes] = self._store.hgetall(state)  # type: ignore[assignment]
            times: list[tuple[bytes, float]] = self._store.zrange(ids, 0, -1, withscores=True)  # type: ignore[assignment]
        seen = {own.decode(): int(time) for own, time in times}
        floor, decisions = int(found.get(b"floor", 0)), found.get(b"decisions", b"")
        return TakenOver(epoch, _progress(found), seen, _views(found.get(b"views")), floor, decisions)

    def views(self, partition: PartitionId) -> frozenset[str] | None:
        """The views that its rows hold; None where it has had no owner."""
        with store_errors():
            return _views(self._store.hget(self._keys(partition)[1], "views"))  # type: ignore[arg-type]

    def begin_anew(
        self,
        partition: PartitionId,
        beyond: int,
        progress: Progress,
        goal: Position,
        views: Iterable[str],
        lost: bool = False,
    ) -> int:
        """Become the owner (of the epoch returned) so that all of the log is folded again, muted up to what is out.

        Parameters
        ----------
        beyond
            An epoch that stands in its outputs, in case the store has forgotten it.
        progress
            What `Progress.anew` says.
        goal
            Until everything up to here is done, rows are incomplete.
        views
            The views that fold it.
        lost
            Rows that stand there from before are not to be gone on with.
        """
        out = [Position(*own).to_bytes() for own in (progress.emitted, progress.refused, goal)]
        with store_errors():
            return int(self._anew(keys=self._keys(partition), args=[beyond, *out, " ".join(sorted(views)), int(lost)]))

    def rebuilding(self, partitions: Sequence[PartitionId]) -> dict[PartitionId, tuple[Position, Position]]:
        """The partitions whose rows are incomplete: how far each is, and how far it has to come. One round trip."""
        pipe = self._store.pipeline(transaction=False)
        for partition in partitions:
            pipe.hmget(self._keys(partition)[1], ("done", "goal"))
        with store_errors():
            found = pipe.execute()
        start = START.to_bytes()
        pairs = {own: (done or start, goal or start) for own, (done, goal) in zip(partitions, found, strict=True)}
        return {
            own: (Position.from_bytes(done), Position.from_bytes(goal))
            for own, (done, goal) in pairs.items()
            if done < goal
        }

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
        self,
        partition: PartitionId,
        epoch: int,
        progress: Progress,
        reached: Reached,
        ids: Mapping[str, int],
        oldest: int,
        views: Iterable[str],
        most_ids: int,
        decisions: bytes = b"",
    ) -> None:
        """Everything up to `progress.done` is in the rows.

        Parameters
        ----------
        reached
            What other workers may rely on.
        ids, oldest
            Ids seen since the last save, with their event times; older ones than `oldest` are dropped.
        views
            Those that fold the partition: what another owner may go on with.
        most_ids
            So many ids are kept at most, the newest ones.
        decisions
            What was decided on the events of calls (see `headrace.store.decisions`), where that changed.

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
            progress.watermark,
            int(progress.ended),
            *reached,
            " ".join(sorted(views)),
            Position(*progress.refused).to_bytes(),
            oldest,
            most_ids,
            decisions,
        ]
        for own, time in ids.items():
            arguments += (time, own)
        with store_errors():
            done = self._save(keys=self._keys(partition), args=arguments)
        if not done:
            raise Fenced(str(partition), epoch)

    def standings(self, partitions: Sequence[PartitionId]) -> dict[PartitionId, Standing | None]:
        """Where each partition stands, as its owner last said; None where it never had one. One round trip."""
        pipe = self._store.pipeline(transaction=False)
        for partition in partitions:
            epoch, state, _ = self._keys(partition)
            pipe.get(epoch)
            pipe.hmget(state, ("folded", "out", "done", "told_in"))
        with store_errors():
            found = pipe.execute()
        pairs = zip(partitions, found[::2], found[1::2], strict=True)
        return {partition: _standing(epoch, state) for partition, epoch, state in pairs}

    def _keys(self, partition: PartitionId) -> list[str]:
        epoch = fence_key(self._loop, _work(partition))
        return [epoch, epoch.replace(":epoch", ":state"), epoch.replace(":epoch", ":ids")]


def _work(partition: PartitionId) -> str:
    return fold_work(partition.stream, partition.partition)


def _progress(found: Mapping[bytes, bytes]) -> Progress:
    start = START.to_bytes()
    return Progress(
        Position.from_bytes(found.get(b"done", start)),
        Position.from_bytes(found.get(b"emitted", start)),
        int(found.get(b"newest", UNKNOWN)),
        int(found.get(b"watermark", UNKNOWN)),
        found.get(b"ended") == b"1",
        Position.from_bytes(found.get(b"refused", start)),
    )


def _views(names: bytes | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names.decode().split())


def _standing(epoch: bytes | None, state: Sequence[bytes | None]) -> Standing | None:
    if epoch is None:
        return None
    folded, out, done, told_in = state
    if folded is None or out is None or done is None:
        return Standing(int(epoch))
    reached = Reached(int(folded), int(out))
    # A new owner may have found more; what an earlier one said of its silence is over.
    return Standing(int(epoch), Reached() if reached.rests and told_in != epoch else reached, Position.from_bytes(done))


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
