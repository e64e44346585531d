"""The broker and the store of one model's learner, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from river import linear_model, preprocessing

from headrace.definition import ModelDefinition, Task
from headrace.engine.learning import Learning, ServedQuality
from headrace.errors import Fenced, TooLarge
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.messages import WrongMessage
from headrace.runtime.pulsar.model_versions import Newest
from headrace.runtime.redis.quality import QualityReport
from headrace.v1.models_pb2 import ModelVersion
from headrace.wire.message import Message
from headrace.wire.position import Position
from headrace_learner.checkpoint import Checkpoints
from headrace_learner.model_learner import Connections, ModelLearner
from headrace_learner.model_report import ModelReport
from headrace_learner.ownership import Ownership
from headrace_learner.published_versions import PublishedVersions
from tests.support.fake_pulsar import Clock
from tests.unit.learner.logs import Row, definition, log

ROWS: list[Row] = [{"n": float(index), "m": float(index % 3)} for index in range(40)]
LABELS = [index % 3 == 0 for index in range(40)]
MODEL = definition("careful", Task.BINARY, ROWS[0], publish_examples=10)
TOPIC = "careful-examples"


def pipeline() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def messages(count: int = len(ROWS), *, end: bool = False) -> list[Message]:
    """Return the log of the first rows, with five examples in a message."""
    return list(log(MODEL, ROWS[:count], LABELS[:count], [10], end=end))


def batch(parts: Iterable[Message]) -> Batch:
    """Return messages as a reader of the broker gives them."""
    result = Batch()
    for part in parts:
        result.positions.append(part.position)
        result.payloads.append(part.payload)
        result.properties.append(part.envelope.properties(part.payload))
        result.published.append(0)
    return result


def learned(count: int, model: ModelDefinition = MODEL) -> Learning:
    """Return a model that has learned the first rows, and published nothing."""
    learning = Learning(model, pipeline(), served=ServedQuality(model))
    for part in log(model, ROWS[:count], LABELS[:count], [10], end=False) if count else ():
        list(learning.read(part))
    return learning


@dataclass
class Servers:
    """The topics and the store of a model; `steps` lists in their order the calls that others can observe.

    Attributes
    ----------
    deliveries
        What each call of `receive` does: it returns a batch, or raises. After the last one the learner is stopped.
    unowned
        The batches of a reading without a subscription.
    fenced
        Whether another process owns the model.
    """

    deliveries: list[Batch | Exception] = field(default_factory=list)
    unowned: list[Batch] = field(default_factory=list)
    newest_version: Newest = field(default_factory=Newest)
    skipped: list[frozenset[int]] = field(default_factory=lambda: [frozenset()])
    fenced: bool = False
    most: int | None = None
    steps: list[Any] = field(default_factory=list)
    versions: list[ModelVersion] = field(default_factory=list)
    reports: list[QualityReport] = field(default_factory=list)
    refused: list[WrongMessage] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    too_large: TooLarge | None = None
    topic: str = TOPIC
    epoch: int = 0
    stop: Callable[[], None] = lambda: None

    # The log

    def subscribe(self) -> Subscription:
        self.steps.append("subscribe")
        return Subscription(self)

    def read_after(self, position: Position) -> Reading:
        self.steps.append(("read", position))
        return Reading(self)

    # The fences

    def acquire(self, work: str) -> int:
        self.epoch += 1
        self.steps.append(("acquire", work))
        return self.epoch

    def check(self, work: str, epoch: int) -> None:
        if self.fenced or epoch != self.epoch:
            raise Fenced(work, epoch)

    # The board

    def write(self, report: QualityReport) -> None:
        self.reports.append(report)

    def read(self, model: str) -> QualityReport | None:
        return self.reports[-1] if self.reports else None

    # The versions

    def publish(self, version: ModelVersion) -> None:
        if self.most is not None and version.examples > self.most:
            self.too_large = TooLarge("a message for models", None, 9)
            return
        self.versions.append(version)
        self.steps.append(("version", version.examples))

    def drop(self, model: ModelDefinition, definitions: Iterable[str]) -> None:
        self.steps.append(("drop", sorted(definitions)))

    def flush(self) -> None:
        self.steps.append("flush")

    def newest(self, model: ModelDefinition, log: str) -> Newest:
        return self.newest_version

    # The learner

    def connections(self) -> Connections:
        return Connections(
            log=self,
            owners=self,
            reports=self,
            versions=self,
            predictions=NoPredictions(),
            skips=partial(Feed, self.skipped),
            refuse=self.refused.append,
        )

    def learner(self, checkpoints: Checkpoints, make: Callable[[], Any] = pipeline, **options: Any) -> ModelLearner:
        """Return a learner that is stopped after the last delivery."""
        learner = ModelLearner(MODEL, make, self.connections(), checkpoints, clock=self.clock, **options)
        self.stop = learner.stop
        return learner

    def parts(self, model: ModelDefinition = MODEL) -> tuple[Ownership, ModelReport, PublishedVersions]:
        """Return what the learner makes of its connections."""
        ownership = Ownership(self, model, clock=self.clock)
        report = ModelReport(model, self, ownership, on_change=lambda: None, clock=self.clock)
        return ownership, report, PublishedVersions(model, self, ownership, report, clock=self.clock)


@dataclass
class Subscription:
    """A subscription that delivers what its servers hold, then stops the learner."""

    servers: Servers

    def receive(self, wait_ms: int = 0) -> Batch:
        if not self.servers.deliveries:
            self.servers.stop()
            return Batch()
        delivery = self.servers.deliveries.pop(0)
        if isinstance(delivery, Exception):
            raise delivery
        return delivery

    def start_after(self, position: Position, delivered: Batch) -> Batch:
        self.servers.steps.append(("start", position))
        return delivered

    def end(self) -> Position | None:
        return None

    def ack(self, position: Position) -> None:
        self.servers.steps.append(("ack", position))

    def close(self) -> None:
        self.servers.steps.append("close")


@dataclass
class Reading:
    """A reading of the log, which ends with the batches of its servers."""

    servers: Servers

    def receive(self, max_messages: int = 0, timeout_ms: int = 0) -> Batch:
        return self.servers.unowned.pop(0) if self.servers.unowned else Batch()

    def close(self) -> None:
        self.servers.steps.append("end of reading")


class NoPredictions:
    """Predictions of a model that has served nothing."""

    def read(self, quality: ServedQuality) -> None:
        pass

    def close(self) -> None:
        pass


class Feed:
    """A feed of skips: it takes a reading from `readings` each time, but leaves the last one there."""

    def __init__(self, readings: list[frozenset[int]]) -> None:
        self._readings = readings

    def read(self, wait_ms: int = 0) -> frozenset[int]:
        return self._readings.pop(0) if len(self._readings) > 1 else self._readings[0]

    def close(self) -> None:
        pass


class NotedCheckpoints(Checkpoints):
    """Checkpoints on disk that note each saving; `failure` is raised instead of it."""

    def __init__(self, directory: Path, steps: list[Any], failure: OSError | None = None) -> None:
        super().__init__(directory, MODEL)
        self._steps, self.failure = steps, failure

    def save(self, data: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        self._steps.append("save")
        super().save(data)
