"""Leases: which of several processes does a work that one alone can do.

A lease elects, it protects nothing: a process that was suspended may believe in a lease that has run out. What it
writes then is refused by the work's fence.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import redis

from headrace.store.connection import store_errors
from headrace.store.fences import fence_key

#: Seconds after which a holder that says nothing more is followed by another process.
LIFE = 4.0

_HOLD = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Lease:
    """One process's claim to a work.

    Parameters
    ----------
    holder
        The process's name. One that comes back under its old name goes on at once.
    clock
        Seconds, of this process: who could not renew for `LIFE` no longer holds.
    """

    def __init__(
        self, store: redis.Redis, loop: str, work: str, holder: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._key = fence_key(loop, work).replace(":epoch", ":lease")
        self._holder = holder
        self._clock = clock
        self._until = clock()
        self._hold = store.register_script(_HOLD)
        self._release = store.register_script(_RELEASE)

    @property
    def held(self) -> bool:
        """Whether the work is this process's, as far as it knows."""
        return self._clock() < self._until

    def campaign(self) -> bool:
        """Take the lease where nobody has it, or renew it; call this several times in a `LIFE`."""
        # From before the call: the store's time runs from its answer on, which is later.
        until = self._clock() + LIFE
        with store_errors():
            held = bool(self._hold(keys=[self._key], args=[self._holder, int(LIFE * 1_000)]))
        self._until = until if held else self._clock()
        return held

    def release(self) -> None:
        """Let another process have it at once."""
        self._until = self._clock()
        with store_errors():
            self._release(keys=[self._key], args=[self._holder])
