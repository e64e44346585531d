"""Epochs: who owns what. A new owner raises the epoch; what an older one still writes is refused."""

from __future__ import annotations

import redis

from headrace.errors import Fenced
from headrace.store.connection import store_errors

#: The epoch of a work's first owner; that of a later one where the store has lost its state.
FIRST_EPOCH = 1


class Fences:
    """The epochs of a loop's single-owner works (a partition's fold, a model's join, its learner)."""

    def __init__(self, store: redis.Redis, loop: str) -> None:
        self._store = store
        self._loop = loop

    def acquire(self, work: str) -> int:
        """Become the owner; every earlier owner is fenced from here on."""
        with store_errors():
            return int(self._store.incr(fence_key(self._loop, work)))

    def check(self, work: str, epoch: int) -> None:
        """Make sure of still being the owner.

        Raises
        ------
        Fenced
            Another process has taken the work over.
        """
        with store_errors():
            current = self._store.get(fence_key(self._loop, work))
        if current is None or int(current) != epoch:
            raise Fenced(work, epoch)


def fence_key(loop: str, work: str) -> str:
    """All keys of one work share a hash slot by this tag."""
    return f"headrace:{{{loop}:{work}}}:epoch"
