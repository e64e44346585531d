"""First epochs: the store has them on disk before anything that was made under them leaves."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from headrace.errors import Unavailable


class FirstEpochs:
    """Waits for the disk of the store, in the background, from the takeover of a work that has never been saved.

    A store that crashes forgets its last second. If its outputs were on their topics by then, a work that had only just
    begun would look like one whose state was lost. Not thread-safe: one thread calls it.

    Parameters
    ----------
    wait
        Waits until all earlier writes are on disk; returns False if that took too long.
    """

    def __init__(self, wait: Callable[[], bool]) -> None:
        self._wait = wait
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="first-epochs")
        self._waits: list[Future[bool]] = []

    def begin(self) -> None:
        """Start to wait for an epoch that was just taken."""
        self._waits.append(self._threads.submit(self._wait))

    def finish(self) -> None:
        """Return once all of them are on disk.

        Raises
        ------
        Unavailable
            The store does not answer, or does not sync its file.
        """
        waits, self._waits = self._waits, []
        if not all(wait.result() for wait in waits):
            raise Unavailable("store: it has not written its append-only file to disk for a while")
