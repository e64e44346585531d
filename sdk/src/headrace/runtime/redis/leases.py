"""Leases elect the one process, of several, that does a work which only one may do.

A lease elects but protects nothing: a process that was suspended may believe in a lease that has expired. The work's
fence refuses what such a process writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import redis

from headrace.runtime.redis.connection import store_errors
from headrace.runtime.redis.fences import fence_key

#: Seconds after which another process follows a holder that has stopped renewing.
LIFE = 4.0

#: A lease without an end, with a later end than leases have, or of another type is none: it would never be free again.
_HOLD = """
local holder = redis.pcall('GET', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
local valid = type(holder) == 'string' and left >= 0 and left <= tonumber(ARGV[2])
if valid and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE = "if redis.pcall('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Lease:
    """One process's claim to a work.

    Parameters
    ----------
    holder
        The process's name. A process that returns under its old name continues at once.
    clock
        Seconds, of this process: after `LIFE` without a renewal it no longer holds the lease.
    """

    def __init__(
        self, store: redis.Redis, loop: str, work: str, holder: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._key = fence_key(loop, work).replace(":epoch", ":lease")
        self._holder = holder
        self._clock = clock
        self._until = clock()
        self._hold = store.register_script(_HOLD)
        self._release = store.register_script(_RELEASE)

    @property
    def held(self) -> bool:
        """Whether this process holds the lease, as far as it knows."""
        return self._clock() < self._until

    def campaign(self) -> bool:
        """Take the lease if no process has it, or renew it; call this several times in a `LIFE`."""
        # Take the time before the call: the store's time runs from its answer on, which is later.
        until = self._clock() + LIFE
        with store_errors():
            has_lease = bool(self._hold(keys=[self._key], args=[self._holder, int(LIFE * 1_000)]))
        self._until = until if has_lease else self._clock()
        return has_lease

    def release(self) -> None:
        """Release the lease, so that another process can have it at once."""
        self._until = self._clock()
        with store_errors():
            self._release(keys=[self._key], args=[self._holder])
