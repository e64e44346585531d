"""Protocols of the broker and the store, as a learner uses them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from headrace.definition import ModelDefinition
from headrace.engine.learning import ServedQuality
from headrace.errors import TooLarge
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.model_versions import Newest
from headrace.runtime.redis.quality import QualityReport
from headrace.v1.models_pb2 import ModelVersion
from headrace.wire.position import Position


class Owners(Protocol):
    """The owners of works: see `headrace.runtime.redis.fences.Fences`."""

    def acquire(self, work: str) -> int: ...

    def check(self, work: str, epoch: int) -> None: ...


class Reports(Protocol):
    """The reports of quality: see `headrace.runtime.redis.quality.QualityBoard`."""

    def write(self, report: QualityReport) -> None: ...

    def read(self, model: str) -> QualityReport | None: ...


class LogSubscription(Protocol):
    """A subscription to a model's log: see `headrace.runtime.pulsar.consumer.PartitionConsumer`."""

    def receive(self, wait_ms: int = ...) -> Batch: ...

    def start_after(self, position: Position, delivered: Batch) -> Batch: ...

    def end(self) -> Position | None: ...

    def ack(self, position: Position) -> None: ...

    def close(self) -> None: ...


class LogReading(Protocol):
    """A reading of a model's log without a subscription: see `headrace.runtime.pulsar.log_reader.LogReader`."""

    def receive(self, max_messages: int = ..., timeout_ms: int = ...) -> Batch: ...

    def close(self) -> None: ...


class ModelLog(Protocol):
    """The log of a model's questions and answers."""

    @property
    def topic(self) -> str:
        """The name of its topic."""
        ...

    def subscribe(self) -> LogSubscription:
        """Wait for the log; the first message makes this process its owner."""
        ...

    def read_after(self, position: Position) -> LogReading:
        """Read the log after a position, without owning it."""
        ...


class VersionTopic(Protocol):
    """The versions of models: see `headrace_learner.pulsar.version_publisher.VersionPublisher`."""

    too_large: TooLarge | None

    def publish(self, version: ModelVersion) -> None: ...

    def drop(self, model: ModelDefinition, definitions: Iterable[str]) -> None: ...

    def flush(self) -> None: ...

    def newest(self, model: ModelDefinition, log: str) -> Newest: ...


class ServedPredictions(Protocol):
    """The predictions that were served: see `headrace_learner.pulsar.prediction_reader.PredictionReader`."""

    def read(self, quality: ServedQuality) -> None: ...

    def close(self) -> None: ...


class SkipFeed(Protocol):
    """The skipped questions of a model: see `headrace.runtime.pulsar.skips.SkipReader`."""

    def read(self, wait_ms: int = ...) -> frozenset[int]: ...

    def close(self) -> None: ...
