"""A thread that sends the events while the demo watches."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from headrace.client import PlayResult, Progress, play
from headrace.embedded import RunningLoop


class Playing(threading.Thread):
    """A thread that plays the files into the loop, as fast as the loop processes them.

    Parameters
    ----------
    files
        The file of each stream.
    """

    def __init__(self, running: RunningLoop, files: Mapping[str, Path]) -> None:
        super().__init__(name="play", daemon=True)
        self.sent = 0
        self._running = running
        self._sources = [(path, stream) for stream, path in files.items()]
        self._outcome: PlayResult | BaseException | None = None

    def run(self) -> None:
        running = self._running
        try:
            self._outcome = play(
                running.definition,
                self._sources,
                running.addresses["ingest"],
                running.redis_url,
                on_progress=self._note,
            )
        except BaseException as error:
            self._outcome = error

    def result(self) -> PlayResult:
        """Return the outcome of the play once it has ended; raise the error that ended it."""
        if isinstance(self._outcome, PlayResult):
            return self._outcome
        raise self._outcome or RuntimeError("the play never began")

    def _note(self, progress: Progress) -> None:
        self.sent = progress.sent
