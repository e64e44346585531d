"""The examples that a model skips because its learner fails on them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from headrace_learner.best_effort import attempt
from headrace_learner.ports import SkipFeed

#: Milliseconds to wait for a skip before checking whether to stop.
_WAIT_MS = 1_000


class SkippedExamples:
    """The skipped questions of a model.

    Parameters
    ----------
    open_feed
        Opens the feed of the model's skips, at its start.
    stopping
        Set when the process ends.

    Attributes
    ----------
    questions
        Their places in the log, as of the last reading.
    """

    def __init__(self, open_feed: Callable[[], SkipFeed], stopping: threading.Event) -> None:
        self.questions: frozenset[int] = frozenset()
        self._open_feed = open_feed
        self._stopping = stopping

    def read(self, until: int | None = None) -> None:
        """Read which examples are skipped; if `until` is given, wait until that question is one of them.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        feed = self._open_feed()
        try:
            self.questions = feed.read()
            while until is not None and until not in self.questions and not self._stopping.is_set():
                self.questions = feed.read(_WAIT_MS)
        finally:
            attempt(feed.close)
