"""One model's thread: it owns the model's log, learns it, publishes versions and keeps checkpoints."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from headrace.definition import ModelDefinition
from headrace.errors import Fenced, HeadraceError, LearnerFailed, Unavailable
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.messages import WrongMessage
from headrace.runtime.readiness import Backoff
from headrace.runtime.redis.status import StoppedModel
from headrace_learner.best_effort import attempt
from headrace_learner.checkpoint import Checkpoints
from headrace_learner.checkpoint_writer import CheckpointWriter
from headrace_learner.log_learning import LogLearning
from headrace_learner.model_report import ModelReport
from headrace_learner.ownership import Ownership
from headrace_learner.ports import (
    LogSubscription,
    ModelLog,
    Owners,
    Reports,
    ServedPredictions,
    SkipFeed,
    VersionTopic,
)
from headrace_learner.published_versions import PublishedVersions
from headrace_learner.skipped_examples import SkippedExamples
from headrace_learner.standby import Standby

_log = structlog.get_logger()

#: Seconds before a retry after the broker or the store did not answer.
_RETRY = 0.5

#: Seconds before a model that failed for another reason restarts: the first time, and at most.
_FAILED_FIRST, _FAILED_LONGEST = 1.0, 60.0


@dataclass(frozen=True, kw_only=True)
class Connections:
    """The topics of a model, and the parts of the store that its learner uses.

    `skips` opens the feed of the model's skips, and `refuse` writes a dead letter, durably.
    """

    log: ModelLog
    owners: Owners
    reports: Reports
    versions: VersionTopic
    predictions: ServedPredictions
    skips: Callable[[], SkipFeed]
    refuse: Callable[[WrongMessage], None]


class ModelLearner(threading.Thread):
    """A thread that learns one model until it is stopped.

    Parameters
    ----------
    make
        Makes a new River pipeline for the model.
    checkpoint_seconds
        The longest time between two checkpoints while examples arrive.
    compiled_learners
        Whether compiled code may learn the model.
    on_choice
        Called once: after compiled code, if it learns the model, is loaded.
    on_change
        Called after `status` has changed.
    clock
        Seconds; they decide when something is due.
    """

    def __init__(
        self,
        model: ModelDefinition,
        make: Callable[[], Any],
        connections: Connections,
        checkpoints: Checkpoints,
        *,
        checkpoint_seconds: float = 30.0,
        compiled_learners: bool = True,
        on_choice: Callable[[], None] = lambda: None,
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name=f"learner-{model.name}")
        self.model = model
        self._stopping = threading.Event()
        self._log = connections.log
        self._checkpoints = checkpoints
        self._ownership = Ownership(connections.owners, model, clock=clock)
        self._report = ModelReport(model, connections.reports, self._ownership, on_change=on_change, clock=clock)
        self.status = self._report.status
        self._versions = PublishedVersions(model, connections.versions, self._ownership, self._report, clock=clock)
        self._checkpoint_writer = CheckpointWriter(
            model,
            checkpoints,
            longest=checkpoint_seconds,
            ownership=self._ownership,
            versions=self._versions,
            report=self._report,
            clock=clock,
        )
        self._learning = LogLearning(
            model,
            make,
            connections.log.topic,
            predictions=connections.predictions,
            refuse=connections.refuse,
            versions=self._versions,
            report=self._report,
            stopping=self._stopping,
            compiled_learners=compiled_learners,
            on_choice=on_choice,
        )
        self._skipped = SkippedExamples(connections.skips, self._stopping)
        self._standby = Standby(connections.log, self._learning, self._report, self._stopping, clock=clock)

    def stop(self) -> None:
        """Finish the current message, write a checkpoint and end."""
        self._stopping.set()

    def run(self) -> None:
        delays = Backoff(_FAILED_FIRST, _FAILED_LONGEST)
        while not self._stopping.is_set():
            try:
                self._learning.start(self._checkpoints.load(), self._skipped.questions)
                self._serve()
            except Fenced as error:
                self._warn("learner_fenced", error)
            except Unavailable as error:
                self._report.set_note(str(error))
                self._warn("server_unavailable", error)
                self._stopping.wait(_RETRY)
            except LearnerFailed as error:
                self._stop_at(error)
            except Exception as error:
                if self.status.failure is None:
                    delays.reset()
                self._fail(error, delays.next())
        self._end()

    # The log -------------------------------------------------------------------------------------

    def _serve(self) -> None:
        self._skipped.read()
        self._learning.state.skipped = self._skipped.questions
        subscription = self._log.subscribe()
        try:
            first_batch = self._standby.wait(subscription)
            if not first_batch:
                return
            self._take_over(subscription, first_batch)
            while not self._stopping.is_set():
                batch = subscription.receive()
                self._learning.learn(batch, publish=True)
                self._learning.read_predictions()
                self._do_what_is_due(subscription, idle=not batch)
                self._check_ownership()
            self._checkpoint(subscription)
        finally:
            self._learning.close()
            attempt(subscription.close)

    def _take_over(self, subscription: LogSubscription, batch: Batch) -> None:
        self._ownership.acquire()
        newer = self._checkpoints.load(beyond=self._learning.state.progress.examples)
        if newer is not None:
            self._learning.start(newer, self._skipped.questions)
        learning = self._learning.state
        self._versions.start(learning, self._log.topic)
        self._checkpoint_writer.start()
        self.status.state = "learning"
        self._report.publish()
        examples = learning.progress.examples
        _log.info("model_owned", model=self.model.name, epoch=self._ownership.epoch, examples=examples)
        self._versions.send_unsent(learning)
        self._versions.end_takeover(learning)
        # Include messages that the broker counts as acknowledged but the checkpoint does not hold.
        self._learning.learn(subscription.start_after(learning.progress.position, batch), publish=True)
        self.status.failure = None

    def _do_what_is_due(self, subscription: LogSubscription, *, idle: bool) -> None:
        """Publish, save and report what is due between two batches."""
        learning = self._learning.state
        if idle and subscription.end() is not None:
            self._versions.correct(learning)
            self._versions.end_takeover(learning, at_end=True)
        self._versions.send_newest(learning)
        self._versions.publish_if_overdue(learning)
        if self._checkpoint_writer.is_due(learning, idle=idle):
            self._checkpoint(subscription)
        self._report.update(learning)

    def _checkpoint(self, subscription: LogSubscription) -> None:
        """Save, then acknowledge what was saved."""
        learning = self._learning.state
        if self._checkpoint_writer.write(learning):
            self._report.update(learning, at_once=True)
            # If this fails, the broker delivers again, and entries already learned are skipped.
            attempt(lambda: subscription.ack(learning.progress.position))

    def _check_ownership(self) -> None:
        try:
            self._ownership.check_if_due()
        except Unavailable as error:
            # Learning does not need the store, so it continues.
            self._report.set_note(str(error))

    # Failures ------------------------------------------------------------------------------------

    def _warn(self, event: str, error: Exception) -> None:
        _log.warning(event, model=self.model.name, reason=str(error))

    def _fail(self, error: Exception, delay: float) -> None:
        """Wait before restarting from the checkpoint; other models of this process continue meanwhile."""
        self.status.state, self.status.failure = "failed", str(error)
        self._report.publish()
        # Our own errors explain themselves.
        traceback = not isinstance(error, HeadraceError)
        _log.error("learner_failed", model=self.model.name, reason=str(error), exc_info=traceback, retry_s=delay)
        self._stopping.wait(delay)

    def _stop_at(self, error: LearnerFailed) -> None:
        """Stop learning until the example on which the learner fails is skipped, or this process ends."""
        position = ":".join(map(str, error.position))
        stopped_model = StoppedModel(
            id=error.id, entry=error.seq, question=error.question, position=position, reason=error.reason
        )
        self.status.state, self.status.stopped = "halted", stopped_model
        self._report.publish()
        _log.error(
            "learner_stopped",
            model=self.model.name,
            example=error.id,
            entry=error.seq,
            position=position,
            reason=str(error),
            exc_info=error,
        )
        self._await_skip(error.question)

    def _await_skip(self, question: int) -> None:
        while not self._stopping.is_set() and question not in self._skipped.questions:
            try:
                self._skipped.read(until=question)
            except Unavailable as error:
                self._warn("server_unavailable", error)
                self._stopping.wait(_RETRY)
        if question in self._skipped.questions:
            self.status.stopped = None
            _log.warning("example_skipped", model=self.model.name, entry=question)

    def _end(self) -> None:
        if self.status.failure is None and self.status.stopped is None:
            self._report.update(self._learning.state, at_once=True)
            self.status.state = "stopped"
        self._report.publish()
