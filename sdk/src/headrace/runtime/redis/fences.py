"""Epochs of ownership. A new owner raises the epoch; writes of older owners are refused.

The first epoch of a work is the store's clock, in ms: a store that was wiped never repeats an epoch.
"""

from __future__ import annotations

import redis

from headrace.errors import Fenced
from headrace.runtime.redis.connection import readable_replies, store_errors

#: The beginning of a script that only the owner may run: for another process, it returns 0. It compares the epoch as
#: text, because Lua's numbers lose integers over 2^53. An epoch of another type is nobody's.
CHECK_EPOCH = "if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end"

#: The beginning of a script that becomes the owner, with an epoch that is newer than `ARGV[1]`, too. Epochs are
#: numbers, because no work changes its owner 2^53 times. An invalid epoch, or one of another type, counts as lost.
RAISE_EPOCH = """
local stored = redis.pcall('GET', KEYS[1])
local last = type(stored) == 'string' and tonumber(stored)
if not last or last ~= last or last < 0 or last >= 2^53 then
  local now = redis.call('TIME')
  last = now[1] * 1000 + math.floor(now[2] / 1000)
end
local epoch = math.max(last, tonumber(ARGV[1])) + 1
redis.call('SET', KEYS[1], string.format('%d', epoch))
"""

_ACQUIRE = f"{RAISE_EPOCH} return epoch"


class Fences:
    """The epochs of a loop's single-owner works (a partition's fold, a model's join, its learner)."""

    def __init__(self, store: redis.Redis, loop: str) -> None:
        self._store = store
        self._loop = loop
        self._acquire = store.register_script(_ACQUIRE)

    def acquire(self, work: str, beyond: int = 0) -> int:
        """Become the owner, with an epoch newer than `beyond`; every earlier owner is fenced from here on."""
        with store_errors():
            return int(self._acquire(keys=[fence_key(self._loop, work)], args=[beyond]))

    def known(self, work: str) -> bool:
        """Return whether there has ever been an owner, as far as the store remembers."""
        with store_errors():
            return bool(self._store.exists(fence_key(self._loop, work)))

    def check(self, work: str, epoch: int) -> None:
        """Make sure that the caller is still the owner.

        Raises
        ------
        Fenced
            Another process has taken over the work.
        """
        pipe = self._store.pipeline(transaction=False)
        pipe.get(fence_key(self._loop, work))
        (current,) = readable_replies(pipe)
        if current is None or current != str(epoch).encode():
            raise Fenced(work, epoch)


def fold_work(stream: str, partition: int) -> str:
    """Return the name of the work of folding a partition."""
    return f"fold:{stream}:{partition}"


def state_key(loop: str, work: str) -> str:
    """Return the key of a work's state."""
    return fence_key(loop, work).replace(":epoch", ":state")


def fence_key(loop: str, work: str) -> str:
    """Return the key of a work's epoch; by its hash tag all keys of one work share a slot."""
    return f"headrace:{{{loop}:{work}}}:epoch"
