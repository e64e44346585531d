"""The partitions that this worker does not own: how far their owners are, and which of them are idle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from headrace.engine.kernel.partition import PartitionId, Reached
from headrace.runtime.redis.partitions import PartitionStore, Standing
from headrace.watermark import IDLE
from headrace.wire.position import START, Position


class _Look(NamedTuple):
    """A look at a partition: where its log ended, and its owner's standing at that time."""

    end: Position
    standing: Standing | None


@dataclass
class _OtherPartition:
    """A partition that this worker does not own.

    Attributes
    ----------
    last_look
        The last look at the end of its silent log.
    silence
        The look that found it idle; None if it is not known to be idle.
    first_standing, has_standing
        The owner's standing when this worker first asked for it, and whether it has asked.
    """

    last_look: _Look | None = None
    silence: _Look | None = None
    first_standing: Standing | None = None
    has_standing: bool = False


class OtherPartitions:
    """What a worker knows about the partitions that it does not own."""

    def __init__(self, store: PartitionStore) -> None:
        self._store = store
        self._partitions: dict[PartitionId, _OtherPartition] = {}

    def forget(self, partition: PartitionId) -> None:
        """Forget a partition whose owner changes."""
        self._partitions.pop(partition, None)

    def note_silence(self, partition: PartitionId, end: Position) -> None:
        """Note that a partition has been silent for long and its log ends here.

        It is idle if its log is empty, or if two looks find the same end and the same standing: an owner that saved
        something in between may be working on new events.
        """
        other = self._other(partition)
        other.silence = None
        look = _Look(end, self._standing(partition))
        is_empty = end == START and (look.standing is None or look.standing.done == START)
        if is_empty or other.last_look == look:
            other.silence = look
        other.last_look = look

    def note_end(self, partition: PartitionId, end: Position) -> None:
        """Note where the log ends: an earlier report that it is idle holds if it covered the log up to here."""
        standing = self._standing(partition)
        is_idle = standing is not None and standing.reached.is_idle
        # An empty log may have been trimmed, or its broker may be starting: `note_silence` looks twice.
        if is_idle and end != START:
            self._other(partition).silence = _Look(end, standing)

    def is_idle(self, partition: PartitionId) -> bool:
        """Return whether a partition is idle or ended and its owner has no work in progress."""
        standing = self._standing(partition)
        return self.is_silent(partition, standing) or self.reached(partition, standing).out >= IDLE

    def is_silent(self, partition: PartitionId, standing: Standing | None) -> bool:
        """Return whether a partition has been silent for long, with every event done."""
        look = self._other(partition).silence
        if look is None or standing != look.standing:
            return False
        done = START if standing is None else standing.done
        return look.end == START or (done.ledger, done.entry) == (look.end.ledger, look.end.entry)

    def reached(self, partition: PartitionId, standing: Standing | None) -> Reached:
        """Return how far the owner of a partition is.

        A standing that says idle counts only if it was saved after our first look at it. An older one may come from an
        owner that has ended and does not know what has arrived since: then our look at the log decides, see `note_end`
        and `note_silence`.
        """
        other = self._other(partition)
        if not other.has_standing:
            other.first_standing, other.has_standing = standing, True
        if standing is None or (standing.reached.is_idle and standing == other.first_standing):
            return Reached()
        return standing.reached

    def _other(self, partition: PartitionId) -> _OtherPartition:
        return self._partitions.setdefault(partition, _OtherPartition())

    def _standing(self, partition: PartitionId) -> Standing | None:
        return self._store.standings([partition])[partition]
