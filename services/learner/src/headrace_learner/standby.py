"""The standby of a model: a process that waits for the log while another owns it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from headrace.runtime.pulsar.batch import Batch
from headrace.wire.position import START
from headrace_learner.best_effort import attempt
from headrace_learner.log_learning import LogLearning
from headrace_learner.model_report import ModelReport
from headrace_learner.ports import LogSubscription, ModelLog

#: Messages to prefetch: few, as each holds up to thousands of examples.
QUEUE = 16

#: Seconds that a standby without a checkpoint waits before it starts to learn on its own.
_PATIENCE = 2.0


class Standby:
    """The standby of a model; without a checkpoint it learns the log meanwhile, to be ready."""

    def __init__(
        self,
        log: ModelLog,
        learning: LogLearning,
        report: ModelReport,
        stopping: threading.Event,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._learning = learning
        self._report = report
        self._stopping = stopping
        self._clock = clock

    def wait(self, subscription: LogSubscription) -> Batch:
        """Wait for the first messages: they make this process the owner. Return none if it is stopped first."""
        self._report.status.state = "standby"
        self._report.publish()
        since = self._clock()
        rebuilt = self._learning.state.progress.position != START
        while not self._stopping.is_set():
            batch = subscription.receive()
            if batch:
                return batch
            self._report.update(self._learning.state)
            if not rebuilt and self._clock() - since > _PATIENCE:
                rebuilt = True
                batch = self._rebuild(subscription)
                if batch:
                    return batch
        return Batch()

    def _rebuild(self, subscription: LogSubscription) -> Batch:
        """Learn the log without publishing, because the checkpoint is lost or on another machine.

        Stop at the end of the log, or when the first message is delivered; return that message.
        """
        reading = self._log.read_after(self._learning.state.progress.position)
        try:
            while not self._stopping.is_set():
                batch = reading.receive(QUEUE, timeout_ms=500)
                if not batch:
                    break
                self._learning.learn(batch, publish=False)
                self._learning.read_predictions()
                self._report.update(self._learning.state)
                delivery = subscription.receive(wait_ms=1)
                if delivery:
                    return delivery
        finally:
            attempt(reading.close)
        return Batch()
