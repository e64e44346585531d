"""A source: one partition that a worker reads."""

from __future__ import annotations

from typing import Protocol

from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.consumer import PartitionConsumer
from headrace.wire.position import Position
from headrace_feature.takeover import Takeover


class Source(Protocol):
    """One partition that a worker reads. The worker's lane calls the methods, in the worker's thread unless noted."""

    @property
    def name(self) -> str:
        """The name for logs."""
        ...

    @property
    def elected(self) -> bool:
        """Whether the worker owns it as soon as it is ready; otherwise, from the first message that is delivered."""
        ...

    def ready(self) -> bool:
        """Return whether it may be read now; polled until it may."""
        ...

    def open(self) -> PartitionConsumer:
        """Subscribe to it, from the reader's thread."""
        ...

    def take_over(self) -> Takeover:
        """Become its owner."""
        ...

    def owns(self, epoch: int) -> bool:
        """Return whether the worker has owned it without a break since this epoch. Callable from any thread."""
        ...

    def accept(self, epoch: int, batch: Batch) -> None:
        """Accept a batch that was read in an epoch."""
        ...

    def note_silence(self, end: Position) -> None:
        """Note that it has been silent for long and its log ends here; repeated while it stays silent."""
        ...

    def note_end(self, end: Position) -> None:
        """Note the end of its log right after subscribing; skipped if it delivers something at once."""
        ...

    def is_full(self) -> bool:
        """Return whether the reader must wait until the worker has done more. Callable from any thread."""
        ...
