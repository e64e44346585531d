"""One model's thread: it owns the log, learns it, publishes versions and keeps checkpoints."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pulsar
import structlog

from headrace.definition import ModelDefinition
from headrace.engine.learning import Learning, ServedQuality, not_finite, version_of
from headrace.engine.quality import NOT_FINITE
from headrace.errors import Fenced, HeadraceError, LearnerFailed, Unavailable, Unreadable
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.consumer import OwnerProgress, PartitionConsumer
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.pulsar.messages import WrongMessage, opened, pass_over
from headrace.runtime.pulsar.model_versions import Newest
from headrace.runtime.pulsar.skips import SkipReader
from headrace.runtime.readiness import Backoff
from headrace.runtime.redis.connection import store_errors
from headrace.runtime.redis.quality import QualityReport
from headrace.runtime.redis.status import StoppedModel
from headrace.v1.models_pb2 import ModelVersion
from headrace.wire.message import Message
from headrace.wire.position import START, Position
from headrace_learner import checkpoint
from headrace_learner.checkpoint import Checkpoints
from headrace_learner.ports import Owners, Reports
from headrace_learner.pulsar.prediction_reader import PredictionReader
from headrace_learner.pulsar.version_publisher import VersionPublisher
from headrace_learner.status import ModelStatus
from headrace_learner.takeover import Takeover, takeover_from

_log = structlog.get_logger()

#: Messages to prefetch: few, as each holds up to thousands of examples.
QUEUE = 16

#: Seconds that a standby without a checkpoint waits before it starts to learn on its own.
_PATIENCE = 2.0

#: Checkpoints take at most this share of the time, and are at least this many seconds apart.
_CHECKPOINT_SHARE = 0.05
_CHECKPOINT_APART = 0.5

#: Seconds before a retry after the disk refused a checkpoint.
_DISK_RETRY = 5.0

#: Seconds between two updates of the metrics.
_REPORT = 1.0

#: Seconds between two checks whether this process still owns the log.
_CHECK = 2.0

#: Seconds before a retry after the broker or the store did not answer.
_RETRY = 0.5

#: Seconds before a model that failed for another reason restarts: the first time, and at most.
_FAILED_FIRST, _FAILED_LONGEST = 1.0, 60.0

#: Milliseconds to wait for a skip before checking whether to stop.
_SKIP_WAIT_MS = 1_000


@dataclass(frozen=True)
class Connections:
    """The broker, the fences and the board that a learner uses.

    `predictions` are the physical topics of what is served, `refuse` writes a dead letter, durably, and `skips` is the
    topic of the skipped examples.
    """

    client: pulsar.Client
    topic: str
    owners: Owners
    reports: Reports
    versions: VersionPublisher
    predictions: Sequence[str] = ()
    refuse: Callable[[WrongMessage], None] = pass_over
    skips: str | None = None


class ModelLearner(threading.Thread):
    """A thread that learns one model until it is stopped.

    Parameters
    ----------
    make
        Makes a new River pipeline for the model.
    checkpoint_seconds
        The longest time between two checkpoints while examples arrive.
    on_change
        Called after `status` has changed.
    """

    def __init__(
        self,
        model: ModelDefinition,
        make: Callable[[], Any],
        connections: Connections,
        checkpoints: Checkpoints,
        *,
        instance: str,
        checkpoint_seconds: float = 30.0,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name=f"learner-{model.name}")
        self.model = model
        self.status = ModelStatus()
        self._make = make
        self._connections = connections
        self._checkpoints = checkpoints
        self._instance = instance
        self._checkpoint_seconds = checkpoint_seconds
        self._on_change = on_change
        self._stopping = threading.Event()
        self._work = f"learner-{model.name}"
        self._learning = Learning(model, make(), served=ServedQuality(model))
        self._predictions = PredictionReader(connections.client, model, connections.predictions)
        self._epoch = 0
        self._saved_position: Position | None = None
        self._saved_at = self._reported_at = self._published_at = self._checked_at = time.monotonic()
        self._saved_version = 0
        self._min_interval = _CHECKPOINT_APART
        self._published_examples = self._reported_served = 0
        self._owes_newest = False
        self._unsent_version: ModelVersion | None = None
        self._too_large = ""
        self._takeover: Takeover | None = None
        self._other_definitions: frozenset[str] = frozenset()
        self._skipped: frozenset[int] = frozenset()

    def stop(self) -> None:
        """Finish the current message, write a checkpoint and end."""
        self._stopping.set()

    def run(self) -> None:
        delays = Backoff(_FAILED_FIRST, _FAILED_LONGEST)
        while not self._stopping.is_set():
            try:
                self._restore()
                self._serve()
            except Fenced as error:
                self._warn("learner_fenced", error)
            except Unavailable as error:
                self._set_note(str(error))
                self._warn("server_unavailable", error)
                self._stopping.wait(_RETRY)
            except LearnerFailed as error:
                self._stop_at(error)
            except Exception as error:
                if self.status.failure is None:
                    delays.reset()
                self._fail(error, delays.next())
        self._end()

    def _warn(self, event: str, error: Exception) -> None:
        _log.warning(event, model=self.model.name, reason=str(error))

    def _fail(self, error: Exception, delay: float) -> None:
        """Wait before restarting from the checkpoint; other models of this process continue meanwhile."""
        self.status.state, self.status.failure = "failed", str(error)
        self._on_change()
        # Our own errors explain themselves.
        traceback = not isinstance(error, HeadraceError)
        _log.error("learner_failed", model=self.model.name, reason=str(error), exc_info=traceback, retry_s=delay)
        self._stopping.wait(delay)

    def _end(self) -> None:
        if self.status.failure is None and self.status.stopped is None:
            self._report(at_once=True)
            self.status.state = "stopped"
        self._on_change()

    # Skipped examples ----------------------------------------------------------------------------

    def _stop_at(self, error: LearnerFailed) -> None:
        """Stop learning until the example on which the learner fails is skipped, or this process ends."""
        position = ":".join(map(str, error.position))
        stopped_model = StoppedModel(
            id=error.id, entry=error.seq, question=error.question, position=position, reason=error.reason
        )
        self.status.state, self.status.stopped = "halted", stopped_model
        self._on_change()
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
        while not self._stopping.is_set() and question not in self._skipped:
            try:
                self._read_skips(until=question)
            except Unavailable as error:
                self._warn("server_unavailable", error)
                self._stopping.wait(_RETRY)
        if question in self._skipped:
            self.status.stopped = None
            _log.warning("example_skipped", model=self.model.name, entry=question)

    def _read_skips(self, until: int | None = None) -> None:
        """Read which examples are skipped; if `until` is given, wait until that question is one of them."""
        if self._connections.skips is None:
            self._stopping.wait(_SKIP_WAIT_MS / 1_000)
            return
        reader = SkipReader(self._connections.client, self._connections.skips, self.model.name)
        try:
            self._skipped = reader.read()
            while until is not None and until not in self._skipped and not self._stopping.is_set():
                self._skipped = reader.read(_SKIP_WAIT_MS)
        finally:
            _quietly(reader.close)

    def _serve(self) -> None:
        if self._connections.skips is not None:
            self._read_skips()
            self._learning.skipped = self._skipped
        consumer = PartitionConsumer(
            self._connections.client,
            self._connections.topic,
            self._work,
            max_messages=QUEUE,
            name=self._instance,
            owner_progress=self._owner_progress,
        )
        try:
            first_batch = self._stand_by(consumer)
            if not first_batch:
                return
            self._take_over(consumer, first_batch)
            while not self._stopping.is_set():
                batch = consumer.receive()
                self._learn(batch, publish=True)
                self._read_predictions()
                self._after(consumer, idle=not batch)
                self._still_own()
            self._checkpoint(consumer)
        finally:
            self._predictions.close()
            _quietly(consumer.close)

    # Ownership -----------------------------------------------------------------------------------

    def _stand_by(self, consumer: PartitionConsumer) -> Batch:
        """Wait for the first message: it makes this process the owner."""
        self.status.state = "standby"
        self._on_change()
        since = time.monotonic()
        rebuilt = self._learning.progress.position != START
        while not self._stopping.is_set():
            batch = consumer.receive()
            if batch:
                return batch
            self._report()
            if not rebuilt and time.monotonic() - since > _PATIENCE:
                rebuilt = True
                batch = self._rebuild(consumer)
                if batch:
                    return batch
        return Batch()

    def _owner_progress(self) -> OwnerProgress:
        """Return what the owner has reported; an empty result if the store has no report of this definition."""
        with store_errors():
            report = self._connections.reports.read(self.model.name)
        if report is None or report.definition != self.model.hash:
            return OwnerProgress()
        return OwnerProgress(report.position, report.examples)

    def _rebuild(self, consumer: PartitionConsumer) -> Batch:
        """Learn the log without publishing, because the checkpoint is lost or on another machine.

        Stop at the end of the log, or when the first message is delivered; return that message.
        """
        reader = LogReader(self._connections.client, self._connections.topic, self._learning.progress.position, QUEUE)
        try:
            while not self._stopping.is_set():
                batch = reader.receive(QUEUE, timeout_ms=500)
                if not batch:
                    break
                self._learn(batch, publish=False)
                self._read_predictions()
                self._report()
                delivery = consumer.receive(wait_ms=1)
                if delivery:
                    return delivery
        finally:
            _quietly(reader.close)
        return Batch()

    def _take_over(self, consumer: PartitionConsumer, batch: Batch) -> None:
        self._epoch = self._connections.owners.acquire(self._work)
        learning = self._checkpoints.load(beyond=self._learning.progress.examples)
        if learning is not None:
            self._begin(learning)
        progress = self._learning.progress
        newest = self._connections.versions.newest(self.model, self._connections.topic)
        # Versions published after the checkpoint are out already, and are learned again without publishing.
        self._published_examples = newest.examples
        # A former owner may have sent an older version late, and compaction keeps the last one.
        self._owes_newest = not newest.is_last
        self._begin_takeover(newest)
        self._saved_position = None
        self._saved_at = self._published_at = time.monotonic()
        self.status.state = "learning"
        self._on_change()
        _log.info("model_owned", model=self.model.name, epoch=self._epoch, examples=progress.examples)
        self._send(self._unsent_version)
        self._end_takeover()
        # Include messages that the broker counts as acknowledged but the checkpoint does not hold.
        self._learn(consumer.start_after(self._learning.progress.position, batch), publish=True)
        self.status.failure = None

    def _still_own(self) -> None:
        """Check from time to time whether another learner took over, even if nothing arrives that would show it."""
        now = time.monotonic()
        if now - self._checked_at >= _CHECK:
            self._checked_at = now
            try:
                self._connections.owners.check(self._work, self._epoch)
            except Unavailable as error:
                # Learning does not need the store, so it continues.
                self._set_note(str(error))

    # Learning ------------------------------------------------------------------------------------

    def _learn(self, batch: Batch, *, publish: bool) -> None:
        for message in opened(batch, self._connections.topic, self._refuse):
            if self._stopping.is_set():
                return
            examples = self._learning.progress.examples
            try:
                self._read(message, publish=publish)
            except Unreadable as error:
                self._refuse(WrongMessage(self._connections.topic, message.position, message.payload, error))
            self.status.learned += self._learning.progress.examples - examples
            if publish:
                self._end_takeover()
            self._on_change()

    def _read(self, message: Message, *, publish: bool) -> None:
        for _ in self._learning.read(message):
            if publish:
                self._publish()
            else:
                self._unsent_version = version_of(self._learning)
                self._learning.progress.published = self._learning.progress.examples

    def _refuse(self, message: WrongMessage) -> None:
        """Write a dead letter for a message that is not part of the log, and continue after it."""
        _log.error(
            "message_refused", model=self.model.name, position=tuple(message.position), reason=str(message.reason)
        )
        self._connections.refuse(message)
        self._learning.skip(message.position)
        self.status.refused += 1

    def _after(self, consumer: PartitionConsumer, *, idle: bool) -> None:
        """Do what is due between two batches."""
        if idle and consumer.end() is not None:
            self._correct()
            self._end_takeover(at_end=True)
        self._send_newest()
        progress = self._learning.progress
        now = time.monotonic()
        after = self.model.publish_after
        overdue = after is not None and (now - self._published_at) * 1e6 >= after
        if overdue and progress.examples > progress.published:
            self._publish()
        if self._saved_position != progress.position:
            age = now - self._saved_at
            due = idle or progress.published > self._saved_version or age >= self._checkpoint_seconds
            if due and age >= self._min_interval:
                self._checkpoint(consumer)
        self._report()

    def _publish(self) -> None:
        """Publish the model as it is now."""
        progress = self._learning.progress
        if progress.examples > self._published_examples:
            self._send(version_of(self._learning))
        progress.published = progress.examples
        self._published_at = time.monotonic()
        self._report(at_once=progress.is_idle)
        self.status.published = progress.published
        self._on_change()

    def _send(self, version: ModelVersion | None) -> None:
        """Send a version, unless it or a later one has been sent already."""
        if version is not None and version.examples > self._published_examples:
            self._put(version)
        self._unsent_version = None

    def _put(self, version: ModelVersion, *, corrects: bool = False) -> None:
        """Send a version, if this process still owns the model."""
        version.corrects = corrects
        self._connections.owners.check(self._work, self._epoch)
        takeover = self._takeover
        if takeover is not None and takeover.is_reached(version.examples):
            self._takeover = self.status.takeover = None
        version.taken_over = self._takeover is None
        version.needed = takeover.needed if takeover is not None else 0
        self._connections.versions.publish(version)
        self._too_large = ""
        self.status.versions += 1
        if takeover is not None and self._takeover is None:
            self._drop_others()

    def _send_newest(self) -> None:
        """Send the newest version again as the last one, once this process has learned it itself."""
        if self._owes_newest and self._learning.progress.examples >= self._published_examples:
            self._owes_newest = False
            self._put(version_of(self._learning))
            self._learning.progress.published = self._learning.progress.examples

    def _correct(self) -> None:
        """Correct, at the end of the log, a version that claims more examples than the log holds."""
        examples = self._learning.progress.examples
        if self._published_examples <= examples:
            return
        _log.error("version_corrected", model=self.model.name, claimed=self._published_examples, learned=examples)
        self._published_examples, self._owes_newest = examples, False
        if examples:
            self._put(version_of(self._learning), corrects=True)
            self._learning.progress.published = examples

    # Taking over ---------------------------------------------------------------------------------

    def _begin_takeover(self, newest: Newest) -> None:
        """Determine whether a former definition answers until this one has learned enough."""
        self._other_definitions = newest.others
        former = None if newest.taken_over else newest.former
        self._takeover = None if former is None else takeover_from(former, self.model)
        self.status.takeover = self._takeover
        if self._takeover is None and newest.taken_over:
            self._drop_others()

    def _end_takeover(self, at_end: bool = False) -> None:
        """Publish the version that takes over, once enough has been learned."""
        progress, takeover = self._learning.progress, self._takeover
        if takeover is None or progress.examples < self._published_examples:
            return
        if not takeover.is_reached(progress.examples, at_end, self._learning.whole):
            return
        self._takeover = replace(takeover, needed=progress.examples)
        self._put(version_of(self._learning))
        progress.published = progress.examples

    def _drop_others(self) -> None:
        """Drop the versions of all other definitions: none of them answers from now on."""
        if self._other_definitions:
            self._connections.versions.flush()
            if self._connections.versions.too_large is not None:
                self._report_too_large()
                return
            self._connections.versions.drop(self.model, self._other_definitions)
            _log.info("model_taken_over", model=self.model.name, instead_of=sorted(self._other_definitions))
        self._other_definitions = frozenset()

    def _report_too_large(self) -> None:
        """Report that a version was too large for the broker: the previous one still answers, and learning goes on."""
        error, self._connections.versions.too_large = self._connections.versions.too_large, None
        if error is not None:
            self._too_large = (
                f"the version of {self._learning.progress.published} examples is not published: {error}. The one "
                "before answers on; a smaller learner (fewer trees, a depth) makes smaller versions"
            )
            _log.error("version_too_large", model=self.model.name, reason=self._too_large)
            self._set_note(self._too_large)

    def _checkpoint(self, consumer: PartitionConsumer) -> None:
        """Save, then acknowledge what was saved."""
        position = self._learning.progress.position
        if self._saved_position == position:
            return
        start = time.monotonic()
        # Everything that a checkpoint calls published must really be.
        self._connections.versions.flush()
        self._report_too_large()
        data = checkpoint.encode(self._learning)
        self._connections.owners.check(self._work, self._epoch)
        try:
            self._checkpoints.save(data)
        except OSError as error:
            # The log keeps what is not acknowledged; the only loss is the time to learn it again.
            self._set_note(f"checkpoint of {self.model.name} not written, acknowledging nothing: {error}")
            _log.error("checkpoint_not_written", model=self.model.name, reason=str(error))
            self._min_interval = _DISK_RETRY
        else:
            self._min_interval = max(_CHECKPOINT_APART, (time.monotonic() - start) / _CHECKPOINT_SHARE)
            self._saved_position, self._saved_version = position, self._learning.progress.published
            self._set_note(self._too_large)
            self._report(at_once=True)
            # If this fails, the broker delivers again, and entries already learned are skipped.
            _quietly(lambda: consumer.ack(position))
        self._saved_at = time.monotonic()

    # State ---------------------------------------------------------------------------------------

    def _restore(self) -> None:
        """Start from the newest checkpoint, or from nothing: the log has the rest."""
        self._begin(self._checkpoints.load() or self._new())

    def _new(self) -> Learning:
        return Learning(self.model, self._make(), served=ServedQuality(self.model))

    def _begin(self, learning: Learning) -> None:
        self._learning, self._unsent_version = learning, None
        learning.skipped = self._skipped
        # The new checkpoint may have other positions.
        self._predictions.close()
        self._report(at_once=True)

    def _read_predictions(self) -> None:
        if self._learning.served is not None:
            self._predictions.read(self._learning.served)

    def _served(self) -> dict[str, float]:
        """Return the metrics of what was served, once there are any."""
        metrics = self._learning.served.metrics() if self._learning.served is not None else {}
        return metrics if metrics.get("served") else {}

    def _soundness(self) -> dict[str, float]:
        """Return the mark of a model that can no longer compute, if it is one."""
        part = not_finite(self._learning.estimator)
        if part is None:
            return {}
        if not self.status.metrics.get(NOT_FINITE):
            _log.warning(
                "model_not_finite", model=self.model.name, part=part, examples=self._learning.progress.examples
            )
        return {NOT_FINITE: 1.0}

    def _set_note(self, note: str) -> None:
        self.status.note = note
        self._on_change()

    def _report(self, *, at_once: bool = False) -> None:
        """Update the reported state of this model."""
        now = time.monotonic()
        progress = self._learning.progress
        served_count = self._learning.served.count if self._learning.served is not None else 0
        unchanged = (progress.examples, served_count) == (self.status.examples, self._reported_served)
        if not at_once and (now - self._reported_at < _REPORT or unchanged):
            if self.status.release_watermark != progress.release_watermark:
                self.status.release_watermark = progress.release_watermark
                self._on_change()
            return
        self._reported_at, self._reported_served = now, served_count
        quality = self._learning.quality
        status = self.status
        status.metrics = {**quality.metrics(), **self._soundness(), **self._served()}
        status.release_watermark = progress.release_watermark
        # Last, so that a reader who sees the number also finds the metrics that belong to it.
        status.examples, status.published = progress.examples, progress.published
        self._on_change()
        if self._epoch:
            report = QualityReport(
                self.model.name,
                self.model.hash,
                self.model.task,
                progress.examples,
                progress.newest,
                {**status.metrics},
                quality.points,
                quality.last_alarm,
                self._saved_position or START,
                quality.reliability,
            )
            _quietly(lambda: self._connections.reports.write(report))


def _quietly(action: Callable[[], Any]) -> None:
    """Call what may fail without harm, if a broker or a store is away."""
    try:
        action()
    except Exception as error:
        _log.warning("message_skipped", reason=repr(error))
