"""The marks of a label's stream, as a join reads them: what each of them decides, and which wait for an operator."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

import structlog

from headrace.definition import StreamDefinition
from headrace.frontier import UNKNOWN
from headrace.kernel.join import Decided
from headrace.kernel.partition import Partition
from headrace.marks import Mark
from headrace.store.status import MarkStatus

_log = structlog.get_logger()

#: Marks of which the status says what they did.
_SHOWN = 5


class LabelMarks:
    """Holds the watermark of labels back while a mark would decide more questions at once than the stream declares.

    What a mark does to events that come behind it is another matter: the owner of the partition decides that, at once.
    So a held mark makes no difference to which label answers which question, but for the questions that are spared if
    the mark is withdrawn.

    Parameters
    ----------
    upto
        By label topic the watermark up to which questions may be decided, as it was stored.
    """

    def __init__(self, model: str, stream: StreamDefinition, upto: Mapping[str, int]) -> None:
        self._model = model
        self._limit = stream.confirm_above
        self._upto = dict(upto)
        self._latest = MarkStatus(until=None, sender="")
        self._shown: deque[MarkStatus] = deque(maxlen=_SHOWN)
        self._held = 0

    @property
    def upto(self) -> dict[str, int]:
        """To be stored; empty where the stream declares no bound."""
        known = {topic: time for topic, time in self._upto.items() if time > UNKNOWN}
        return {} if self._limit is None else known

    def read(self, topic: str, mark: Mark, partition: Partition) -> None:
        """Take a mark that the partition has taken."""
        if mark.withdraws:
            self._upto[topic] = min(self._upto.get(topic, UNKNOWN), partition.watermark)
        elif mark.confirmed and mark.time is not None:
            self._upto[topic] = max(self._upto.get(topic, UNKNOWN), mark.time)
        if (mark.time, mark.sender) != (self._latest.until, self._latest.sender):
            # A mark goes to each partition of its stream.
            self._latest = MarkStatus(until=mark.time, sender=mark.sender, withdraws=mark.withdraws)
            self._shown.append(self._latest)

    def watermark(self, topic: str, partition: Partition) -> int:
        """The watermark of a partition, without marks that are held."""
        if self._limit is None:
            return partition.watermark
        return min(partition.watermark, max(self._upto.get(topic, UNKNOWN), partition.event_watermark))

    def release(self, partitions: Mapping[str, Partition], due: Callable[[int, int], int]) -> None:
        """Let marks count that decide few enough questions.

        Parameters
        ----------
        due
            Counts the questions that are decided if the watermark moves from one time to another.
        """
        if self._limit is None or not partitions:
            return
        now = min(self.watermark(topic, own) for topic, own in partitions.items())
        then = min(own.watermark for own in partitions.values())
        held = due(now, then) if then > now else 0
        if held > self._limit and not self._held:
            _log.warning(
                "mark_held", model=self._model, until=then, sender=self._latest.sender, questions=held, most=self._limit
            )
        self._held = held if held > self._limit else 0
        self._show_held()
        if not self._held:
            self._upto = {topic: own.watermark for topic, own in partitions.items()}

    def _show_held(self) -> None:
        for mark in self._shown:
            mark.held = 0
        furthest = max(self._shown, key=lambda mark: mark.until or UNKNOWN, default=self._latest)
        furthest.held = self._held

    def credit(self, decided: Decided) -> None:
        """Note what marks decided in a step: it is credited to the one that was read last."""
        if not (decided.expired_by_mark or decided.absent_by_mark):
            return
        self._latest.expired += decided.expired_by_mark
        self._latest.absent += decided.absent_by_mark
        _log.info(
            "mark_decided",
            model=self._model,
            until=self._latest.until,
            sender=self._latest.sender,
            expired=decided.expired_by_mark,
            absent=decided.absent_by_mark,
        )

    def statuses(self) -> list[MarkStatus]:
        """The latest marks, the oldest first."""
        return list(self._shown)
