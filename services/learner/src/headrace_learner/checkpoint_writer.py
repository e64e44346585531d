"""The checkpoints of a model while it learns: when one is due, and what must hold before it is saved."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from headrace.definition import ModelDefinition
from headrace.engine.learning import Learning
from headrace_learner import checkpoint
from headrace_learner.checkpoint import Checkpoints
from headrace_learner.model_report import ModelReport
from headrace_learner.ownership import Ownership
from headrace_learner.published_versions import PublishedVersions

_log = structlog.get_logger()

#: Checkpoints take at most this share of the time, and are at least this many seconds apart.
_SHARE = 0.05
_APART = 0.5

#: Seconds before a retry after the disk refused a checkpoint.
_DISK_RETRY = 5.0


class CheckpointWriter:
    """The checkpoints that the owner of a model's log writes.

    Parameters
    ----------
    longest
        The longest time between two checkpoints while examples arrive, in seconds.
    """

    def __init__(
        self,
        model: ModelDefinition,
        checkpoints: Checkpoints,
        *,
        longest: float,
        ownership: Ownership,
        versions: PublishedVersions,
        report: ModelReport,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._checkpoints = checkpoints
        self._longest = longest
        self._ownership = ownership
        self._versions = versions
        self._report = report
        self._clock = clock
        self._saved_at = clock()
        self._saved_version = 0
        self._min_interval = _APART

    def start(self) -> None:
        """Start as a new owner: whatever is saved was acknowledged by another."""
        self._report.saved_position = None
        self._saved_at = self._clock()

    def is_due(self, learning: Learning, *, idle: bool) -> bool:
        """Return whether to write one: after a version, after a while, or if nothing else is to do (`idle`)."""
        if self._report.saved_position == learning.progress.position:
            return False
        age = self._clock() - self._saved_at
        due = idle or learning.progress.published > self._saved_version or age >= self._longest
        return due and age >= self._min_interval

    def write(self, learning: Learning) -> bool:
        """Save the model; return whether its position may be acknowledged now.

        Raises
        ------
        Fenced
            Another process owns the log.
        Unavailable
            The broker does not have all versions, or the store does not answer.
        """
        if self._report.saved_position == learning.progress.position:
            return False
        start = self._clock()
        # Everything that a checkpoint calls published must really be.
        self._versions.flush(learning)
        data = checkpoint.encode(learning)
        self._ownership.check()
        is_saved = self._save(data)
        if is_saved:
            self._min_interval = max(_APART, (self._clock() - start) / _SHARE)
            self._report.saved_position = learning.progress.position
            self._saved_version = learning.progress.published
            self._report.set_note(self._versions.too_large)
        self._saved_at = self._clock()
        return is_saved

    def _save(self, data: bytes) -> bool:
        try:
            self._checkpoints.save(data)
        except OSError as error:
            # The log keeps what is not acknowledged; the only loss is the time to learn it again.
            self._report.set_note(f"checkpoint of {self._model.name} not written, acknowledging nothing: {error}")
            _log.error("checkpoint_not_written", model=self._model.name, reason=str(error))
            self._min_interval = _DISK_RETRY
            return False
        return True
