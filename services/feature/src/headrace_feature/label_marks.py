"""The marks of a label's stream, as a join reads them: their decisions, and which of them wait for an operator."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

import structlog

from headrace.definition import StreamDefinition
from headrace.engine.kernel.join import Decided
from headrace.engine.marks import Mark
from headrace.runtime.redis.status import MarkStatus
from headrace.watermark import UNKNOWN
from headrace_feature.label_topic import LabelTopic

_log = structlog.get_logger()

#: How many marks the status shows with their effects.
_SHOWN = 5


class LabelMarks:
    """The watermark of labels, held back while a mark would decide more questions at once than the stream declares.

    Only decisions wait: the owner of the partition applies a mark to later events at once. A held mark therefore does
    not change which label answers which question, except for the questions that are spared if the mark is withdrawn.
    """

    def __init__(self, model: str, stream: StreamDefinition) -> None:
        self._model = model
        self._limit = stream.confirm_above
        self._latest = MarkStatus(until=None, sender="")
        self._shown: deque[MarkStatus] = deque(maxlen=_SHOWN)
        self._held = 0

    def read(self, topic: LabelTopic, mark: Mark) -> None:
        """Note a mark that the partition has accepted."""
        if mark.withdraws:
            topic.decided_to = min(topic.decided_to, topic.partition.watermark)
        elif mark.confirmed and mark.time is not None:
            topic.decided_to = max(topic.decided_to, mark.time)
        if (mark.time, mark.sender) != (self._latest.until, self._latest.sender):
            # A mark is sent to each partition of its stream.
            self._latest = MarkStatus(until=mark.time, sender=mark.sender, withdraws=mark.withdraws)
            self._shown.append(self._latest)

    def release(self, topics: Collection[LabelTopic], due: Callable[[int, int], int]) -> None:
        """Apply the marks that decide few enough questions.

        Parameters
        ----------
        due
            Counts the questions that would be decided if the watermark moved from one time to another.
        """
        if self._limit is None or not topics:
            return
        current = min(topic.watermark for topic in topics)
        target = min(topic.partition.watermark for topic in topics)
        questions = due(current, target) if target > current else 0
        if questions > self._limit and not self._held:
            _log.warning(
                "mark_held",
                model=self._model,
                until=target,
                sender=self._latest.sender,
                questions=questions,
                most=self._limit,
            )
        self._held = questions if questions > self._limit else 0
        self._show_held()
        if not self._held:
            for topic in topics:
                topic.decided_to = topic.partition.watermark

    def _show_held(self) -> None:
        for mark in self._shown:
            mark.held = 0
        furthest = max(self._shown, key=lambda mark: mark.until or UNKNOWN, default=self._latest)
        furthest.held = self._held

    def credit(self, decided: Decided) -> None:
        """Note what marks decided in a step: it is credited to the mark that was read last."""
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
        """Return the latest marks, oldest first."""
        return list(self._shown)
