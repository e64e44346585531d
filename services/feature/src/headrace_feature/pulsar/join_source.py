"""A features topic's or a label stream's partition, as a join worker reads it."""

from __future__ import annotations

from collections.abc import Callable

from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.consumer import PartitionConsumer
from headrace.wire.position import Position
from headrace_feature.join_worker import JoinWorker
from headrace_feature.takeover import Takeover


class JoinSource:
    """The `Source` of a join worker: the process that holds the model's lease reads all of its sources.

    Parameters
    ----------
    topic
        The physical topic.
    subscribe
        Subscribes to it.
    is_upstream_idle
        Whether the source of the topic is idle, too: vectors also stop while the fold is held up or dead.
    """

    elected = True

    def __init__(
        self,
        worker: JoinWorker,
        topic: str,
        subscribe: Callable[[], PartitionConsumer],
        is_upstream_idle: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name = topic.rpartition("/")[2]
        self._worker = worker
        self._topic = topic
        self._subscribe = subscribe
        self._is_upstream_idle = is_upstream_idle

    def ready(self) -> bool:
        """See `Source.ready`."""
        return self._worker.begin()

    def open(self) -> PartitionConsumer:
        """See `Source.open`."""
        return self._subscribe()

    def take_over(self) -> Takeover:
        """See `Source.take_over`."""
        return self._worker.takeover(self._topic)

    def owns(self, epoch: int) -> bool:
        """See `Source.owns`."""
        return self._worker.owns(epoch)

    def accept(self, epoch: int, batch: Batch) -> None:
        """See `Source.accept`."""
        self._worker.accept(self._topic, epoch, batch)

    def note_silence(self, end: Position) -> None:
        """See `Source.note_silence`."""
        if self._is_upstream_idle():
            self._worker.note_silence(self._topic, end)

    def note_end(self, end: Position) -> None:
        """Ignore it: the join releases nothing before the topic has been silent for long."""

    def is_full(self) -> bool:
        """See `Source.is_full`."""
        return self._worker.is_full(self._topic)
