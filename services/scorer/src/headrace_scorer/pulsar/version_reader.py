"""The thread that follows the models topic."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pulsar

from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.connection import partitions
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.pulsar.messages import WrongMessage, pass_over
from headrace.runtime.pulsar.model_versions import versions_in
from headrace.wire.topics import Topics
from headrace_scorer.pulsar.log_thread import LogThread
from headrace_scorer.version_cache import VersionCache
from headrace_scorer.versions import Versions

#: Milliseconds of one poll for new versions; it ends as soon as one arrives.
_WAIT_MS = 250


class VersionReader(LogThread):
    """A thread that follows the models topic from its beginning.

    Parameters
    ----------
    on_change
        Called when there may be a new version.
    on_caught_up
        Called by the thread whenever it has taken everything that the topic holds.

    Attributes
    ----------
    caught_up
        Set once everything that the topic held at the start has been taken.
    refused
        How many messages were not versions.
    """

    def __init__(
        self,
        client: pulsar.Client,
        topics: Topics,
        versions: Versions,
        cache: VersionCache,
        *,
        on_change: Callable[[], None],
        on_caught_up: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        super().__init__("versions", failed)
        self._on_change = on_change
        self._on_caught_up = on_caught_up
        self._cache = cache
        self._client = client
        self._topic = topics.models
        self._versions = versions
        self.refused = 0
        self.caught_up = threading.Event()
        self._confirming = threading.Condition()
        self._asked, self._confirmed = 1, 0

    def confirm(self, stopping: threading.Event) -> bool:
        """Wait until everything that the topic holds now has been taken; return False if `stopping` is set first."""
        with self._confirming:
            self._asked += 1
            asked = self._asked
            while self._confirmed < asked and not stopping.is_set():
                self._confirming.wait(0.1)
            return self._confirmed >= asked

    def _work(self) -> None:
        topics = partitions(self._client, self._topic)
        readers = [LogReader(self._client, topic, compacted=True) for topic in topics]
        try:
            while not self._stopping.is_set():
                asked = self._asked
                if self._confirmed < asked and not any(reader.more() for reader in readers):
                    self._confirm_up_to(asked)
                for reader in readers:
                    if batch := _backlog(reader, _WAIT_MS // len(readers)):
                        published = list(versions_in(batch, self._topic, self._pass_over))
                        self._cache.save(self._versions.offer(published))
                        self._on_change()
        finally:
            for reader in readers:
                reader.close()

    def _confirm_up_to(self, asked: int) -> None:
        self.caught_up.set()
        with self._confirming:
            self._confirmed = asked
            self._confirming.notify_all()
        self._on_caught_up()

    def _pass_over(self, message: WrongMessage) -> None:
        pass_over(message)
        self.refused += 1


def _backlog(reader: LogReader, wait_ms: int) -> Batch:
    """Return everything that has arrived: only the last version of a long history is worth building."""
    backlog = Batch()
    batch: Batch = reader.receive(timeout_ms=wait_ms)
    while batch:
        backlog = backlog.followed_by(batch)
        batch = reader.receive(timeout_ms=20)
    return backlog
