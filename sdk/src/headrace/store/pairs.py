"""What the store keeps of a model's join: the waiting pairs, the positions of its sources, an outbox, and ids.

One save is one atomic step: the pairs that changed, how far the sources have been read, the ids of label events
that were read on the way, and the examples decided but perhaps not yet sent. A new owner sends the outbox again
and goes on from the positions, so a decision is taken once, whatever happens between taking and sending it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import redis

from headrace.errors import Fenced
from headrace.kernel.join import Pair
from headrace.store.connection import store_errors
from headrace.store.fences import RAISE_EPOCH, Fences, fence_key

_SAVE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
local pairs_end = 3 + 2 * tonumber(ARGV[3])
for i = 4, #ARGV, 2 do
  local key = KEYS[i <= pairs_end and 3 or 4]
  if ARGV[i + 1] == '' then redis.call('HDEL', key, ARGV[i])
  else redis.call('HSET', key, ARGV[i], ARGV[i + 1]) end
end
return 1
"""


_ANEW = f"""
{RAISE_EPOCH}
redis.call('SET', KEYS[2], ARGV[2])
redis.call('DEL', KEYS[3], KEYS[4])
return epoch
"""


class JoinState(msgspec.Struct):
    """Where a join stands.

    Attributes
    ----------
    definition
        Hash of the model whose pairs these are.
    positions
        By source topic the bytes of the last position read.
    accepted
        By features topic the epoch and position of the last vector taken.
    newest
        By label topic the newest event time.
    frontiers
        By source topic its frontier.
    sequence
        The number of the next example.
    outbox
        Messages of the examples log that may not have been sent, with the frontier of the last one.
    goals
        Where the state was lost, by source topic the position up to which it has to be made again: until then, the
        examples that are in the log already are not written once more.
    """

    definition: str = ""
    positions: dict[str, bytes] = {}
    accepted: dict[str, tuple[int, bytes]] = {}
    newest: dict[str, int] = {}
    frontiers: dict[str, int] = {}
    sequence: int = 0
    outbox: list[bytes] = []
    goals: dict[str, bytes] = {}


# Made on import: msgspec looks at a type with its first decoder, and two threads that do so at once crash the process.
_STATE, _PAIR = msgspec.msgpack.Decoder(JoinState), msgspec.msgpack.Decoder(Pair)


class PairStore:
    """Takes a model's join over and saves its steps, fenced by epoch."""

    def __init__(self, store: redis.Redis, loop: str, model: str) -> None:
        self._store = store
        self._fences = Fences(store, loop)
        self._work = f"join:{model}"
        epoch = fence_key(loop, self._work)
        # The ids stand beside the state, which is written whole at each step: of them, only what changed is.
        self._keys = [epoch, *(epoch.replace(":epoch", own) for own in (":state", ":pairs", ":ids"))]
        self._save = store.register_script(_SAVE)
        self._anew = store.register_script(_ANEW)

    def known(self) -> bool:
        """Whether it has ever had an owner, as far as the store remembers."""
        return self._fences.known(self._work)

    def check(self, epoch: int) -> None:
        """Make sure of still being the owner.

        Raises
        ------
        Fenced
            Another process has taken the join over, or the store has lost its state.
        """
        self._fences.check(self._work, epoch)

    def begin_anew(self, beyond: int, state: JoinState) -> int:
        """Become the owner, to have the join made again from where `state` stands; returns the epoch.

        Parameters
        ----------
        beyond
            An epoch that stands in the examples log, in case the store has forgotten it.
        """
        with store_errors():
            return int(self._anew(keys=self._keys, args=[beyond, msgspec.msgpack.encode(state)]))

    def take_over(self) -> tuple[int, JoinState, dict[str, Pair]]:
        """Become the owner; returns the epoch, where the join stands and the pairs that wait."""
        epoch = self._fences.acquire(self._work)
        with store_errors():
            state: bytes | None = self._store.get(self._keys[1])  # type: ignore[assignment]
            pairs: dict[bytes, bytes] = self._store.hgetall(self._keys[2])  # type: ignore[assignment]
        return (
            epoch,
            JoinState() if state is None else _STATE.decode(state),
            {own.decode(): _PAIR.decode(pair) for own, pair in pairs.items()},
        )

    def seen(self) -> dict[int, dict[str, int]]:
        """By the number of their label topic the ids that were seen, the oldest first, with their event times."""
        with store_errors():
            found: dict[bytes, bytes] = self._store.hgetall(self._keys[3])  # type: ignore[assignment]
        seen: dict[int, dict[str, int]] = {}
        for field, time in sorted(found.items(), key=lambda own: int(own[1])):
            number, _, own = field.decode().partition(":")
            seen.setdefault(int(number), {})[own] = int(time)
        return seen

    def save(
        self,
        epoch: int,
        state: JoinState,
        changed: Mapping[str, Pair | None],
        seen: Mapping[tuple[int, str], int | None] | None = None,
    ) -> None:
        """Save one step.

        Parameters
        ----------
        changed
            By event id its pair; None: to forget.
        seen
            By the number of their label topic, and themselves, the event times of ids seen; None: to forget.

        Raises
        ------
        Fenced
            Another process has taken the join over.
        """
        encode = msgspec.msgpack.Encoder().encode
        arguments: list[int | str | bytes] = [epoch, encode(state), len(changed)]
        for own, pair in changed.items():
            arguments += (own, b"" if pair is None else encode(pair))
        for (number, own), time in (seen or {}).items():
            arguments += (f"{number}:{own}", b"" if time is None else time)
        with store_errors():
            done = self._save(keys=self._keys, args=arguments)
        if not done:
            raise Fenced(self._work, epoch)
