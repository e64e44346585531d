"""The stored state of a model's join: waiting entries, the positions of its sources, an outbox, and ids.

Waiting questions and labels are kept here and not in memory: an entry for each id (a hash), and four orders (sorted
sets) by the time when an entry is next examined. One save is one atomic step: the changed entries, the positions
of the sources, the ids of label events that were read on the way, and the log's entries that may not have been sent. A
new owner sends the outbox again and continues from the positions, so a decision is made once, whatever happens between
making and sending it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from operator import itemgetter
from typing import NamedTuple

import msgspec
import redis

from headrace.engine.kernel.join import NOTHING, Entry, Index, Rule, Weight, places, sort_key
from headrace.errors import Fenced, NewerFormat, OlderFormat, Unreadable
from headrace.runtime.redis.connection import REMAKE, typed_keys
from headrace.runtime.redis.fences import CHECK_EPOCH, RAISE_EPOCH, Fences, fence_key
from headrace.wire.frame import Kind, Packed
from headrace.wire.position import Position
from headrace.wire.times import WireTime

# ARGV: epoch, state; then for the entries, the ids and each order: how many to remove, these; how many to add, these.
_SAVE = f"""
{CHECK_EPOCH}
redis.call('SET', KEYS[2], ARGV[2])
local at = 3
for key = 3, #KEYS do
  local hash = key <= 4
  local count = tonumber(ARGV[at])
  for i = at + 1, at + count do redis.call(hash and 'HDEL' or 'ZREM', KEYS[key], ARGV[i]) end
  at = at + count + 1
  count = tonumber(ARGV[at])
  if hash then
    for i = at + 1, at + 2 * count, 2 do redis.call('HSET', KEYS[key], ARGV[i], ARGV[i + 1]) end
    at = at + 2 * count + 1
  else
    for i = at + 1, at + count do redis.call('ZADD', KEYS[key], 0, ARGV[i]) end
    at = at + count + 1
  end
end
return 1
"""


_RESTART = f"""
{RAISE_EPOCH}
redis.call('SET', KEYS[2], ARGV[2])
for key = 3, #KEYS do redis.call('DEL', KEYS[key]) end
return epoch
"""

_CLEAR = f"""
{CHECK_EPOCH}
redis.call('SET', KEYS[2], ARGV[2])
for key = 3, #KEYS do redis.call('DEL', KEYS[key]) end
return 1
"""

#: Number of entries that one command requests: few enough that other clients do not notice.
_LOAD = 500


# ARGV: epoch; a text to remove entries (of a hash), or '' to remove places (of a sorted set); then their names.
_FORGET = f"""
{CHECK_EPOCH}
for i = 3, #ARGV do redis.call(ARGV[2] == '' and 'ZREM' or 'HDEL', KEYS[2], ARGV[i]) end
return 1
"""


class LabelSource(NamedTuple):
    """Progress in a partition of the label's stream: see `headrace.engine.kernel.partition.Partition`."""

    newest: WireTime
    watermark: WireTime
    ended: bool


class FormerRead(NamedTuple):
    """How far former definitions of a model have read a features topic.

    Attributes
    ----------
    event
        The position of the last event whose vector was taken.
    message
        The position of the last message: vectors that were not taken have been passed, too.
    """

    event: bytes
    message: bytes


class JoinState(msgspec.Struct, forbid_unknown_fields=True):
    """The progress of a join.

    Attributes
    ----------
    definition, examples
        Hash of the model whose questions wait, and of what its examples are made of.
    positions
        By source topic, the bytes of the last position read.
    accepted
        By features topic, the epoch and position of the last vector taken.
    labels
        By label topic, the progress of reading it.
    watermarks, release_watermarks
        By features topic, its watermark, and the time up to which the join need not wait for it.
    sequence
        The place of the next entry of the log.
    outbox
        Messages of the log that may not have been sent.
    released
        The outbox holds entries that were logged only because a source is idle or ended.
    goals
        After a loss of the state: by source topic, the position up to which it has to be rebuilt. Before that, entries
        that are in the log already are not written again.
    weight
        Weight of everything that waits.
    reread
        After a change of the definition: by label topic, the position up to which labels are read a second time.
    remake
        The examples of a changed model are to be made from the kept events, and not all of them are in the log yet.
    missed
        Events have no vector, because the model was not in the loop when they came: their examples are to be made.
    remake_until
        By features topic, how far it was read under former definitions: the questions of the events up to there are
        among those to be made.
    epoch
        Epoch of the owner that saved it.
    upto
        By label topic, the time up to which marks may decide questions; empty if any mark may.
    """

    definition: str = ""
    examples: str = ""
    positions: dict[str, bytes] = {}
    accepted: dict[str, tuple[int, bytes]] = {}
    labels: dict[str, LabelSource] = {}
    watermarks: dict[str, WireTime] = {}
    release_watermarks: dict[str, WireTime] = {}
    sequence: int = 0
    outbox: list[bytes] = []
    released: bool = False
    goals: dict[str, bytes] = {}
    weight: Weight = Weight()
    reread: dict[str, bytes] = {}
    remake: bool = False
    missed: bool = False
    remake_until: dict[str, FormerRead] = {}
    epoch: int = 0
    upto: dict[str, int] = {}

    @property
    def all_positions(self) -> Iterator[bytes]:
        """All positions in the state."""
        yield from (*self.positions.values(), *self.goals.values(), *self.reread.values())
        yield from (position for read in self.remake_until.values() for position in read)
        yield from (position for _, position in self.accepted.values())


_STATE, _ENTRY = Packed[JoinState](Kind.JOIN, JoinState), Packed[Entry](Kind.PAIRS, Entry)


class Loaded(NamedTuple):
    """Entries by id, and those that cannot be read, with the reason."""

    entries: dict[str, Entry]
    wrong: dict[str, Unreadable]


class PairStore:
    """Takes over a model's join, looks up what waits and saves its steps, fenced by epoch.

    Parameters
    ----------
    rule
        Rule of the model's label: entries are listed by the times that it gives.
    """

    def __init__(self, store: redis.Redis, loop: str, model: str, rule: Rule) -> None:
        self._store = store
        self._fences = Fences(store, loop)
        self._work = f"join:{model}"
        self._rule = rule
        epoch = fence_key(loop, self._work)
        # Ids are separate from the state, which is rewritten at each step, so that only changed ids are written.
        names = (":state", ":waiting", ":ids", *(f":{index}" for index in Index))
        self._keys = [epoch, *(epoch.replace(":epoch", name) for name in names)]
        self._orders = dict(zip(Index, self._keys[4:], strict=True))
        types = ("string", "string", "hash", "hash", *("zset" for _ in Index))
        self._types = dict(zip(self._keys, types, strict=True))
        self._save_script = store.register_script(_SAVE)
        self._restart_script = store.register_script(_RESTART)
        self._clear_script = store.register_script(_CLEAR)
        self._forget_script = store.register_script(_FORGET)

    def known(self) -> bool:
        """Return whether the store knows of any owner of the join, past or present."""
        return self._fences.known(self._work)

    def check(self, epoch: int) -> None:
        """Make sure that the caller is still the owner.

        Raises
        ------
        Fenced
            Another process has taken over the join, or the store has lost its state.
        """
        self._fences.check(self._work, epoch)

    def restart(self, beyond: int, state: JoinState) -> int:
        """Become the owner, to rebuild the join from `state`; return the epoch.

        Parameters
        ----------
        beyond
            The newest epoch in the examples log: the new epoch is greater, even if the store has forgotten that one.
        """
        with self._typed_keys():
            return int(self._restart_script(keys=self._keys, args=[beyond, _STATE.encode(state)]))

    def take_over(self) -> tuple[int, JoinState]:
        """Become the owner; return the epoch and the state of the join.

        Raises
        ------
        Unreadable
            The state is damaged, or of another format. The caller is the owner nevertheless.
        """
        epoch = self._fences.acquire(self._work)
        with self._typed_keys():
            data: bytes | None = self._store.get(self._keys[1])  # type: ignore[assignment]
        subject = f"the state of {self._work}"
        if data is None:
            return epoch, JoinState()
        try:
            state = _STATE.decode(data, subject)
            for position in state.all_positions:
                Position.from_bytes(position)
        except (NewerFormat, OlderFormat):
            raise
        except Unreadable as error:
            raise Unreadable(subject, error.problem, REMAKE) from error
        if state.epoch >= epoch:
            # The epoch has been damaged: readers would drop what this owner writes.
            epoch = self._fences.acquire(self._work, state.epoch)
        return epoch, state

    def seen(self) -> dict[int, dict[str, int]]:
        """Return the ids that were seen, oldest first, with their event times, by the number of their label topic.

        Invalid entries, which no owner wrote, are left out.
        """
        with self._typed_keys():
            fields: dict[bytes, bytes] = self._store.hgetall(self._keys[3])  # type: ignore[assignment]
        ids: list[tuple[int, int, str]] = []
        for name, time in fields.items():
            number, _, event_id = name.partition(b":")
            with suppress(ValueError):
                ids.append((int(time), int(number), event_id.decode()))
        seen: dict[int, dict[str, int]] = {}
        for at, topic, id in sorted(ids, key=itemgetter(0)):
            seen.setdefault(topic, {})[id] = at
        return seen

    def load(self, ids: Iterable[str]) -> Loaded:
        """Load the entries of these ids; ids without an entry are left out."""
        names = list(dict.fromkeys(ids))
        pipe = self._store.pipeline(transaction=False)
        for start in range(0, len(names), _LOAD):
            pipe.hmget(self._keys[2], names[start : start + _LOAD])
        with self._typed_keys():
            values = [entry for part in pipe.execute() for entry in part]
        loaded = Loaded({}, {})
        for name, data in zip(names, values, strict=True):
            try:
                if data is not None:
                    loaded.entries[name] = _ENTRY.decode(data, f"an entry of {self._work}")
            except Unreadable as error:
                loaded.wrong[name] = error
        return loaded

    def forget(self, epoch: int, names: Iterable[str], places: Mapping[Index, Iterable[bytes]]) -> None:
        """Remove unreadable entries, and places in the orders that have no entry.

        Raises
        ------
        Fenced
            Another process has taken over the join.
        """
        removed: list[tuple[str, str, list[str | bytes]]] = [("entries", self._keys[2], list(names))]
        removed += [("", self._orders[index], list(items)) for index, items in places.items()]
        for kind, key, members in removed:
            with self._typed_keys():
                done = not members or self._forget_script(keys=[self._keys[0], key], args=[epoch, kind, *members])
            if not done:
                raise Fenced(self._work, epoch)

    def before(self, times: Mapping[Index, int], limit: int) -> dict[Index, list[bytes]]:
        """Return the first places of each order that are before a time, in order; at most `limit` of each."""
        pipe = self._store.pipeline(transaction=False)
        for index, time in times.items():
            pipe.zrangebylex(self._orders[index], "-", b"(" + sort_key(time), 0, limit)
        with self._typed_keys():
            results = pipe.execute()
        return dict(zip(times, results, strict=True))

    def due(self, begin: int, end: int) -> int:
        """Return the number of open questions that are decided between two watermarks."""
        with self._typed_keys():
            count = self._store.zlexcount(
                self._orders[Index.OPEN],
                b"[" + sort_key(begin),
                b"(" + sort_key(end),
            )
        return int(count)

    def clear(self, epoch: int, state: JoinState) -> None:
        """Remove all waiting entries, and the ids that were read.

        Raises
        ------
        Fenced
            Another process has taken over the join.
        """
        state.epoch = epoch
        with self._typed_keys():
            done = self._clear_script(keys=self._keys, args=[epoch, _STATE.encode(state)])
        if not done:
            raise Fenced(self._work, epoch)

    def save(
        self,
        epoch: int,
        state: JoinState,
        changed: Mapping[str, tuple[Entry, Entry]],
        seen: Mapping[tuple[int, str], int | None] | None = None,
    ) -> None:
        """Save one step.

        Parameters
        ----------
        changed
            By id, its entry before and after.
        seen
            Event times of the ids seen, by the number of their label topic and the id; None: forget the id.

        Raises
        ------
        Fenced
            Another process has taken over the join.
        """
        encode = _ENTRY.encode
        state.epoch = epoch
        arguments: list[int | str | bytes] = [epoch, _STATE.encode(state)]
        _add_hash(arguments, {id: None if after == NOTHING else encode(after) for id, (_, after) in changed.items()})
        _add_hash(arguments, {f"{number}:{id}": time for (number, id), time in (seen or {}).items()})
        removed: dict[Index, list[bytes]] = {index: [] for index in Index}
        added: dict[Index, list[bytes]] = {index: [] for index in Index}
        for id, (before, after) in changed.items():
            old, new = places(id, before, self._rule), places(id, after, self._rule)
            for index, place in old - new:
                removed[index].append(place)
            for index, place in new - old:
                added[index].append(place)
        for index in Index:
            arguments += (len(removed[index]), *removed[index], len(added[index]), *added[index])
        with self._typed_keys():
            done = self._save_script(keys=self._keys, args=arguments)
        if not done:
            raise Fenced(self._work, epoch)

    def _typed_keys(self) -> AbstractContextManager[None]:
        return typed_keys(self._store, self._types)


def _add_hash(arguments: list[int | str | bytes], fields: Mapping[str, bytes | int | None]) -> None:
    deletions = [name for name, value in fields.items() if value is None]
    pairs = [part for name, value in fields.items() if value is not None for part in (name, value)]
    arguments += (len(deletions), *deletions, len(pairs) // 2, *pairs)
