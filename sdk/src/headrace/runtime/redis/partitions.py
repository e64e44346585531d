"""The stored state of each partition: its owner's epoch, its progress, and the ids that it saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import NamedTuple

import msgspec
import redis

from headrace.definition import LoopDefinition
from headrace.engine.kernel.partition import PartitionId, Progress, Reached
from headrace.errors import Fenced, NewerFormat, OlderFormat, Unreadable
from headrace.runtime.redis.connection import REMAKE, readable_replies, store_errors, typed_keys
from headrace.runtime.redis.fences import CHECK_EPOCH, RAISE_EPOCH, Fences, fence_key, fold_work
from headrace.watermark import ENDED, UNKNOWN
from headrace.wire.formats import without_format
from headrace.wire.frame import Kind, Packed, seal, unseal
from headrace.wire.position import START, Position
from headrace.wire.times import WireTime, from_wire, to_wire

_SAVE = f"""
{CHECK_EPOCH}
redis.call('HSET', KEYS[2], 'saved', ARGV[2], 'emitted', ARGV[3])
if ARGV[6] ~= '' then redis.call('HSET', KEYS[2], 'decisions', ARGV[6]) end
for i = 7, #ARGV, 2 do redis.call('ZADD', KEYS[3], ARGV[i], ARGV[i + 1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[4])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -1 - tonumber(ARGV[5]))
return 1
"""
_EMITTED = f"""
{CHECK_EPOCH}
redis.call('HSET', KEYS[2], 'emitted', ARGV[2])
return 1
"""


_RESTART = f"""
{RAISE_EPOCH}
local floor = redis.pcall('HGET', KEYS[2], 'floor')
if ARGV[5] == '1' then floor = string.format('%d', epoch) end
redis.call('DEL', KEYS[2], KEYS[3])
redis.call('HSET', KEYS[2], 'saved', ARGV[2], 'emitted', ARGV[3], 'goal', ARGV[4])
if type(floor) == 'string' then redis.call('HSET', KEYS[2], 'floor', floor) end
return epoch
"""


class PartitionState(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The stored state of a partition: see `headrace.engine.kernel.partition.Progress` and `Reached`.

    `epoch` is that of the owner that saved it, None before the first save; `views` are those whose rows are complete up
    to `done`, `models` those that its owner made vectors for.
    """

    epoch: int | None = None
    done: bytes = START.to_bytes()
    refused: bytes = START.to_bytes()
    newest: WireTime = None
    watermark: WireTime = None
    ended: bool = False
    folded: WireTime = None
    out: WireTime = None
    views: list[str] = []
    models: list[str] = []


_STATE = Packed[PartitionState](Kind.PARTITION, PartitionState)


class TakenOver(NamedTuple):
    """The state from which a new owner starts.

    Attributes
    ----------
    seen
        The ids seen, with their event times.
    views
        The views whose rows hold everything up to `progress.done` (or will, once it is reached again); None if
        there has been no owner.
    models
        The models that have a vector for each event up to `progress.emitted`, or are to be told that they have not.
    oldest_epoch
        Rows of owners before this epoch count as lost.
    """

    epoch: int
    progress: Progress
    seen: dict[str, int]
    views: frozenset[str] | None = None
    models: frozenset[str] = frozenset()
    oldest_epoch: int = 0
    decisions: bytes = b""


class OwnerReport(NamedTuple):
    """The report of a partition's owner to other workers.

    Attributes
    ----------
    epoch
        The owner's epoch.
    reached
        The progress that other workers may rely on.
    done
        The position up to which its rows are complete.
    views
        The views that it folds.
    watermark
        Its watermark there (µs).
    ended
        The history ended there, as far as its last owner had read.
    """

    epoch: int
    reached: Reached = Reached()
    done: Position = START
    views: frozenset[str] = frozenset()
    watermark: int = UNKNOWN
    ended: bool = False

    @property
    def needs_owner(self) -> bool:
        """Whether an owner has to look for more behind an end of history: until then nobody relies on that end."""
        return self.ended and min(self.reached) < ENDED


def view_names(loop: LoopDefinition, stream: str) -> frozenset[str]:
    """Return the views that fold a stream, as the store names them; a changed one has another name."""
    return frozenset(f"{view.stored}:{view.hash}" for view in loop.views if view.stream == stream)


class PartitionStore:
    """Takes over partitions and saves their progress, fenced by epoch."""

    def __init__(self, store: redis.Redis, loop: str) -> None:
        self._store = store
        self._loop = loop
        self._fences = Fences(store, loop)
        self._save_script = store.register_script(_SAVE)
        self._record_script = store.register_script(_EMITTED)
        self._restart_script = store.register_script(_RESTART)

    def known(self, partition: PartitionId) -> bool:
        """Return whether the store knows of any owner of the partition, past or present."""
        return self._fences.known(_work(partition))

    def take_over(self, partition: PartitionId) -> TakenOver:
        """Become the partition's owner: from here on, no earlier owner can write.

        Raises
        ------
        Unreadable
            The stored state is damaged, or of another format. The caller is the owner nevertheless.
        """
        _, state, ids = self._keys(partition)
        epoch = self._fences.acquire(_work(partition))
        with self._typed_keys(partition):
            fields: dict[bytes, bytes] = self._store.hgetall(state)  # type: ignore[assignment]
            times: list[tuple[bytes, float]] = self._store.zrange(ids, 0, -1, withscores=True)  # type: ignore[assignment]
        saved = _read_state(fields, partition)
        if saved is not None and saved.epoch is not None and saved.epoch >= epoch:
            # The epoch has been damaged: readers would drop what this owner writes.
            epoch = self._fences.acquire(_work(partition), saved.epoch)
        emitted = _position(fields.get(b"emitted"), partition)
        progress = Progress() if saved is None else _progress(saved)
        progress.emitted = emitted
        views, models = (None, ()) if saved is None else (frozenset(saved.views), saved.models)
        oldest_epoch, decisions = _number(fields.get(b"floor", b"0"), partition), fields.get(b"decisions", b"")
        return TakenOver(epoch, progress, _seen(times), views, frozenset(models), oldest_epoch, decisions)

    def parts(self, partition: PartitionId) -> tuple[frozenset[str], frozenset[str]] | None:
        """Return the views and models of a partition's last owner; None if there is none, or it is unreadable."""
        pipe = self._store.pipeline(transaction=False)
        pipe.hget(self._keys(partition)[1], "saved")
        (data,) = readable_replies(pipe)
        saved = _readable(data, partition)
        return None if saved is None else (frozenset(saved.views), frozenset(saved.models))

    def restart(
        self,
        partition: PartitionId,
        beyond: int,
        progress: Progress,
        goal: Position,
        *,
        views: Iterable[str],
        models: Iterable[str],
        lost: bool = False,
    ) -> int:
        """Become the owner, to fold the whole log again without repeating outputs; return the epoch.

        Parameters
        ----------
        beyond
            The newest epoch in its outputs: the new epoch is greater, even if the store has forgotten that one.
        progress
            The result of `Progress.restarted`.
        goal
            Rows are incomplete until the log is folded up to this position.
        views
            The views that fold the partition.
        models
            The models that have a vector for each event up to `progress.emitted`.
        lost
            Whether existing rows count as lost.
        """
        refused = Position(*progress.refused).to_bytes()
        saved = _STATE.encode(PartitionState(refused=refused, views=sorted(views), models=sorted(models)))
        arguments: list[int | bytes] = [beyond, saved, _seal(progress.emitted), _seal(goal), int(lost)]
        with self._typed_keys(partition):
            return int(self._restart_script(keys=self._keys(partition), args=arguments))

    def rebuilding(self, partitions: Sequence[PartitionId]) -> dict[PartitionId, tuple[Position, Position]]:
        """Return the partitions with incomplete rows, with their position and their goal. Takes one round trip.

        A partition whose state cannot be read is left out: its owner refuses it.
        """
        pipe = self._store.pipeline(transaction=False)
        for partition in partitions:
            pipe.hmget(self._keys(partition)[1], ("saved", "goal"))
        rebuilding = {}
        for partition, fields in zip(partitions, readable_replies(pipe), strict=True):
            data, sealed = fields or (None, None)
            saved = _readable(data, partition)
            if saved is None or sealed is None:
                continue
            with suppress(Unreadable):
                done, goal = Position.from_bytes(saved.done), _position(sealed, partition)
                if done < goal:
                    rebuilding[partition] = (done, goal)
        return rebuilding

    def record_emitted(self, partition: PartitionId, epoch: int, progress: Progress) -> None:
        """Record that the vectors up to `progress.emitted` have been written.

        Raises
        ------
        Fenced
            Another process owns the partition.
        """
        arguments: list[int | bytes] = [epoch, _seal(progress.emitted)]
        with self._typed_keys(partition):
            done = self._record_script(keys=self._keys(partition)[:2], args=arguments)
        if not done:
            raise Fenced(str(partition), epoch)

    def save(
        self,
        partition: PartitionId,
        epoch: int,
        progress: Progress,
        reached: Reached,
        *,
        ids: Mapping[str, int],
        oldest: int,
        views: Iterable[str],
        models: Iterable[str],
        most_ids: int,
        decisions: bytes = b"",
    ) -> None:
        """Save that everything up to `progress.done` is in the rows.

        Parameters
        ----------
        reached
            Progress that other workers may rely on.
        ids, oldest
            Ids seen since the last save, with their event times; ids older than `oldest` are dropped.
        views
            The views that fold the partition: those with which another owner may continue.
        models
            The models whose vectors it makes.
        most_ids
            Maximum number of ids that are kept, the newest ones.
        decisions
            Decisions on the events of calls (see `headrace.runtime.redis.decisions`), if they changed.

        Raises
        ------
        Fenced
            Another process owns the partition.
        """
        saved = PartitionState(
            epoch=epoch,
            done=Position(*progress.done).to_bytes(),
            refused=Position(*progress.refused).to_bytes(),
            newest=to_wire(progress.newest),
            watermark=to_wire(progress.watermark),
            ended=progress.ended,
            folded=to_wire(reached.folded),
            out=to_wire(reached.out),
            views=sorted(views),
            models=sorted(models),
        )
        arguments: list[str | int | bytes] = [
            epoch,
            _STATE.encode(saved),
            _seal(progress.emitted),
            oldest,
            most_ids,
            decisions,
        ]
        for event_id, time in ids.items():
            arguments += (time, event_id)
        with self._typed_keys(partition):
            done = self._save_script(keys=self._keys(partition), args=arguments)
        if not done:
            raise Fenced(str(partition), epoch)

    def owner_reports(self, partitions: Sequence[PartitionId]) -> dict[PartitionId, OwnerReport | None]:
        """Return the last report of each partition's owner; None if it never had one. Takes one round trip.

        An unreadable state counts as missing: other workers cannot rely on it, and its owner refuses it.
        """
        pipe = self._store.pipeline(transaction=False)
        for partition in partitions:
            epoch, state, _ = self._keys(partition)
            pipe.get(epoch)
            pipe.hget(state, "saved")
        results = readable_replies(pipe)
        pairs = zip(partitions, results[::2], results[1::2], strict=True)
        return {partition: _report(epoch, _readable(state, partition)) for partition, epoch, state in pairs}

    def _keys(self, partition: PartitionId) -> list[str]:
        epoch = fence_key(self._loop, _work(partition))
        return [epoch, epoch.replace(":epoch", ":state"), epoch.replace(":epoch", ":ids")]

    def _typed_keys(self, partition: PartitionId) -> AbstractContextManager[None]:
        return typed_keys(self._store, dict(zip(self._keys(partition), ("string", "hash", "zset"), strict=True)))


def _work(partition: PartitionId) -> str:
    return fold_work(partition.stream, partition.partition)


def _subject(partition: PartitionId) -> str:
    return f"the state of partition {partition}"


def _read_state(fields: Mapping[bytes, bytes], partition: PartitionId) -> PartitionState | None:
    """Return the state of a partition; None if there is none."""
    data = fields.get(b"saved")
    if data is None and b"done" in fields:
        raise without_format(_subject(partition))
    try:
        return None if data is None else _STATE.decode(data, _subject(partition))
    except (NewerFormat, OlderFormat):
        raise
    except Unreadable as error:
        raise Unreadable(error.what, error.problem, REMAKE) from error


def _readable(data: bytes | None, partition: PartitionId) -> PartitionState | None:
    try:
        return None if data is None else _STATE.decode(data, _subject(partition))
    except Unreadable:
        return None


def _progress(saved: PartitionState) -> Progress:
    return Progress(
        Position.from_bytes(saved.done),
        newest=from_wire(saved.newest),
        watermark=from_wire(saved.watermark),
        ended=saved.ended,
        refused=Position.from_bytes(saved.refused),
    )


def _seal(position: tuple[int, int, int]) -> bytes:
    return seal(Kind.POSITION, Position(*position).to_bytes())


def _position(sealed: bytes | None, partition: PartitionId) -> Position:
    return START if sealed is None else Position.from_bytes(unseal(Kind.POSITION, sealed, _subject(partition)))


def _number(text: bytes, partition: PartitionId) -> int:
    if not (text.isdigit() and len(text) <= 19):
        raise Unreadable(_subject(partition), f"its floor is {text[:20]!r}, not a number", REMAKE)
    return int(text)


def _seen(entries: Iterable[tuple[bytes, float]]) -> dict[str, int]:
    """Return the ids seen; invalid entries, which no owner wrote, are left out."""
    seen = {}
    for name, time in entries:
        with suppress(UnicodeDecodeError, OverflowError, ValueError):
            seen[name.decode()] = int(time)
    return seen


def _report(epoch: bytes | None, saved: PartitionState | None) -> OwnerReport | None:
    if epoch is None or not epoch.isdigit() or len(epoch) > 19:
        return None
    number = int(epoch)
    if saved is None or saved.epoch is None:
        return OwnerReport(number)
    reached = Reached(from_wire(saved.folded), from_wire(saved.out))
    # An idle report of an earlier owner no longer holds: the new owner may have found more events.
    if reached.is_idle and saved.epoch != number:
        reached = Reached()
    try:
        views, watermark = frozenset(saved.views), from_wire(saved.watermark)
        return OwnerReport(number, reached, Position.from_bytes(saved.done), views, watermark, saved.ended)
    except Unreadable:
        return OwnerReport(number)


class Durability:
    """Waits until the store has everything on disk that was written before.

    Parameters
    ----------
    store
        Each wait takes a connection of its own: it must not hold up later writes.
    """

    def __init__(self, store: redis.Redis, loop: str) -> None:
        self._store = store
        self._key = f"headrace:{loop}:durable"

    def wait(self, timeout_ms: int = 10_000) -> bool:
        """Return whether all writes that were answered before this call are synced to the append-only file."""
        with store_errors():
            pipe = self._store.pipeline(transaction=False)
            # This write comes after all earlier ones; when it is on disk, they are, too.
            pipe.set(self._key, 1)
            pipe.execute_command("WAITAOF", 1, 0, timeout_ms)  # type: ignore[no-untyped-call]
            _, synced = pipe.execute()
        return bool(synced[0] >= 1)
