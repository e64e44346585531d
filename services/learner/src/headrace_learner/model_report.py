"""The report of a model: its status in this process, and its quality on the board."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from headrace.definition import ModelDefinition
from headrace.engine.learning import Learning
from headrace.engine.quality import NOT_FINITE
from headrace.runtime.redis.quality import QualityReport
from headrace.wire.position import START, Position
from headrace_learner.best_effort import attempt
from headrace_learner.ownership import Ownership
from headrace_learner.ports import Reports
from headrace_learner.status import ModelStatus

_log = structlog.get_logger()

#: Seconds between two updates of the metrics.
_REPORT = 1.0


class ModelReport:
    """The report of one model; its owner also writes it to the store.

    Parameters
    ----------
    on_change
        Called after `status` has changed.

    Attributes
    ----------
    saved_position
        The position in the log that this owner's newest checkpoint holds; None before its first.
    """

    def __init__(
        self,
        model: ModelDefinition,
        reports: Reports,
        ownership: Ownership,
        *,
        on_change: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.status = ModelStatus()
        self.saved_position: Position | None = None
        self._model = model
        self._reports = reports
        self._ownership = ownership
        self._on_change = on_change
        self._clock = clock
        self._reported_at = clock()
        self._served_count = 0

    def publish(self) -> None:
        """Publish the changes of `status`."""
        self._on_change()

    def set_note(self, note: str) -> None:
        """Set the note beside the state."""
        self.status.note = note
        self._on_change()

    def update(self, learning: Learning, *, at_once: bool = False) -> None:
        """Report the metrics and the progress of the model, at most once a second unless `at_once`."""
        now = self._clock()
        served_count = learning.served.count if learning.served is not None else 0
        unchanged = (learning.progress.examples, served_count) == (self.status.examples, self._served_count)
        if not at_once and (now - self._reported_at < _REPORT or unchanged):
            if self.status.release_watermark != learning.progress.release_watermark:
                self.status.release_watermark = learning.progress.release_watermark
                self._on_change()
            return
        self._reported_at, self._served_count = now, served_count
        self._set_metrics(learning)
        self._on_change()
        if self._ownership.epoch:
            report = self._quality_report(learning)
            attempt(lambda: self._reports.write(report))

    def _set_metrics(self, learning: Learning) -> None:
        status, progress = self.status, learning.progress
        status.metrics = {**learning.quality.metrics(), **self._soundness(learning), **_served_metrics(learning)}
        status.release_watermark = progress.release_watermark
        # Last, so that a reader who sees the number also finds the metrics that belong to it.
        status.examples, status.published = progress.examples, progress.published

    def _soundness(self, learning: Learning) -> dict[str, float]:
        """Return the mark of a model that can no longer compute, if it is one."""
        part = learning.not_finite()
        if part is None:
            return {}
        if not self.status.metrics.get(NOT_FINITE):
            _log.warning("model_not_finite", model=self._model.name, part=part, examples=learning.progress.examples)
        return {NOT_FINITE: 1.0}

    def _quality_report(self, learning: Learning) -> QualityReport:
        quality, progress = learning.quality, learning.progress
        return QualityReport(
            self._model.name,
            self._model.hash,
            self._model.task,
            progress.examples,
            progress.newest,
            {**self.status.metrics},
            quality.points,
            quality.last_alarm,
            self.saved_position or START,
            quality.reliability,
        )


def _served_metrics(learning: Learning) -> dict[str, float]:
    """Return the metrics of what was served, once anything was."""
    metrics = learning.served.metrics() if learning.served is not None else {}
    return metrics if metrics.get("served") or metrics.get("hindsight") else {}
