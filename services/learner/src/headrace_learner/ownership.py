"""The ownership of a model's log: its owner alone publishes versions and saves checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable

from headrace.definition import ModelDefinition
from headrace_learner.ports import Owners

#: Seconds between two checks whether this process still owns the log.
_CHECK = 2.0


def work_of(model: ModelDefinition) -> str:
    """Return the name of the work that has one owner: that of the fence, and of the subscription to the log."""
    return f"learner-{model.name}"


class Ownership:
    """The ownership of a model's log by this process, until another process acquires it.

    Attributes
    ----------
    epoch
        The epoch of the last ownership; 0 before the first.
    """

    def __init__(self, owners: Owners, model: ModelDefinition, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.epoch = 0
        self._owners = owners
        self._work = work_of(model)
        self._clock = clock
        self._checked_at = clock()

    def acquire(self) -> None:
        """Become the owner; the former owner is fenced from now on."""
        self.epoch = self._owners.acquire(self._work)

    def check(self) -> None:
        """Check that this process is still the owner.

        Raises
        ------
        Fenced
            Another process is.
        Unavailable
            The store does not answer.
        """
        self._owners.check(self._work, self.epoch)

    def check_if_due(self) -> None:
        """Check from time to time whether another learner took over, even if nothing arrives that would show it."""
        now = self._clock()
        if now - self._checked_at >= _CHECK:
            self._checked_at = now
            self.check()
