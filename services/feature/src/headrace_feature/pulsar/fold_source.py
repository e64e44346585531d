"""A stream's partition, as a fold worker reads it."""

from __future__ import annotations

from collections.abc import Callable

from headrace.engine.kernel.partition import PartitionId
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.consumer import PartitionConsumer
from headrace.wire.position import Position
from headrace_feature.fold_worker import FoldWorker
from headrace_feature.takeover import Takeover


class FoldSource:
    """The `Source` of a fold worker: the broker assigns it with its first message.

    Parameters
    ----------
    subscribe
        Subscribes to the partition.
    bound
        Number of unfinished events beyond which reading it pauses.
    """

    elected = False

    def __init__(
        self, worker: FoldWorker, partition: PartitionId, subscribe: Callable[[], PartitionConsumer], *, bound: int
    ) -> None:
        self.name = str(partition)
        self._worker = worker
        self._partition = partition
        self._subscribe = subscribe
        self._bound = bound

    def ready(self) -> bool:
        """See `Source.ready`."""
        return True

    def open(self) -> PartitionConsumer:
        """See `Source.open`."""
        return self._subscribe()

    def take_over(self) -> Takeover:
        """See `Source.take_over`."""
        return self._worker.take_over(self._partition)

    def owns(self, epoch: int) -> bool:
        """See `Source.owns`."""
        return self._worker.owns(self._partition, epoch)

    def accept(self, epoch: int, batch: Batch) -> None:
        """See `Source.accept`."""
        self._worker.accept(self._partition, epoch, self._worker.decode(self._partition, batch))

    def note_silence(self, end: Position) -> None:
        """See `Source.note_silence`."""
        self._worker.note_silence(self._partition, end)

    def note_end(self, end: Position) -> None:
        """See `Source.note_end`."""
        self._worker.note_end(self._partition, end)

    def is_full(self) -> bool:
        """See `Source.is_full`."""
        return self._worker.is_full(self._partition, self._bound)
