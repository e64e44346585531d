"""The log of a model, on its topic."""

from __future__ import annotations

import pulsar

from headrace.definition import ModelDefinition
from headrace.runtime.pulsar.consumer import OwnerProgress, PartitionConsumer
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.redis.connection import store_errors
from headrace.wire.position import Position
from headrace_learner.ownership import work_of
from headrace_learner.ports import Reports
from headrace_learner.standby import QUEUE


class PulsarModelLog:
    """The topic of a model's questions and answers: a Failover subscription makes one learner its owner.

    Parameters
    ----------
    instance
        The name of this process, by which the broker chooses the owner.
    reports
        The reports of the owner, from which the others know that it is at work.
    """

    def __init__(
        self, client: pulsar.Client, topic: str, model: ModelDefinition, *, instance: str, reports: Reports
    ) -> None:
        self.topic = topic
        self._client = client
        self._model = model
        self._instance = instance
        self._reports = reports

    def subscribe(self) -> PartitionConsumer:
        """Wait for the log; the first message makes this process its owner."""
        return PartitionConsumer(
            self._client,
            self.topic,
            work_of(self._model),
            max_messages=QUEUE,
            name=self._instance,
            owner_progress=self._owner_progress,
        )

    def read_after(self, position: Position) -> LogReader:
        """Read the log after a position, without owning it."""
        return LogReader(self._client, self.topic, position, QUEUE)

    def _owner_progress(self) -> OwnerProgress:
        """Return what the owner has reported; an empty result if the store has no report of this definition."""
        with store_errors():
            report = self._reports.read(self._model.name)
        if report is None or report.definition != self._model.hash:
            return OwnerProgress()
        return OwnerProgress(report.position, report.examples)
