"""The lanes of a feature process: the workers of its role, with the topics and the stored state they work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pulsar
import redis
import structlog

from headrace.definition import LoopDefinition, ModelDefinition, StreamDefinition
from headrace.engine.former import Answering
from headrace.engine.kernel.fold import Fold
from headrace.engine.kernel.join import Rule
from headrace.engine.kernel.partition import PartitionId
from headrace.history.logs import BrokerLogs
from headrace.runtime.pulsar import connection
from headrace.runtime.pulsar.consumer import OwnerProgress, PartitionConsumer
from headrace.runtime.pulsar.dead_letter_writer import DeadLetterWriter
from headrace.runtime.pulsar.producer import wake
from headrace.runtime.redis import connection as store_connection
from headrace.runtime.redis.leases import Lease
from headrace.runtime.redis.pairs import PairStore
from headrace.runtime.redis.partitions import Durability, PartitionStore
from headrace.runtime.redis.rows import RowStore
from headrace.runtime.redis.status import Heartbeat, ServiceStatus, StatusBoard
from headrace.watermark import IDLE
from headrace.wire.position import Position
from headrace.wire.topics import Topics
from headrace_feature.example_remaker import ExampleRemaker
from headrace_feature.fold_worker import FoldWorker
from headrace_feature.join_worker import JoinWorker
from headrace_feature.lane import Lane
from headrace_feature.pulsar.acknowledger import Acknowledger
from headrace_feature.pulsar.fold_source import FoldSource
from headrace_feature.pulsar.formers import Formers
from headrace_feature.pulsar.join_source import JoinSource
from headrace_feature.pulsar.outputs import ExamplesLog, VectorOutputs
from headrace_feature.pulsar.unread_counts import UnreadCounts
from headrace_feature.settings import FeatureSettings
from headrace_feature.status import FeatureStatus

_log = structlog.get_logger()


class FeatureLanes:
    """The lanes of one process, built from its settings, and what it does at intervals."""

    def __init__(
        self,
        settings: FeatureSettings,
        loop: LoopDefinition,
        *,
        client: pulsar.Client,
        store: redis.Redis,
        heartbeat: Heartbeat,
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._client = client
        self._store = store
        self._heartbeat = heartbeat
        self._topics = Topics(loop.name, settings.namespace)
        self._durability = Durability(store_connection.connect(settings.redis_url), loop.name)
        self._acknowledger = Acknowledger(self._durability)
        self._folder: FoldWorker | None = None
        self._joiners: list[JoinWorker] = []
        self._leases: list[Lease] = []
        self._partitions = PartitionStore(store, loop.name)
        self._unread = UnreadCounts()
        self._status = FeatureStatus(loop, self._partitions, self._unread)
        self._formers = Formers(client, loop, self._topics)
        self._answering = Answering(loop)

    def lanes(self) -> list[Lane]:
        """Connect, and build the lanes of this process's role."""
        role = self._settings.role
        lanes = [self._fold_lane()] if role in ("all", "fold") else []
        if role in ("all", "join"):
            lanes += [self._join_lane(model) for model in self._loop.models]
        self._status.lanes = lanes
        return lanes

    def acknowledge(self) -> None:
        """Acknowledge what is durable."""
        self._acknowledger.run(self._saved)

    def campaign(self) -> None:
        """Claim each model's join, or renew the claim."""
        for lease in self._leases:
            lease.campaign()

    def follow_takeovers(self) -> None:
        """Stop folding and assembling for former definitions that no longer answer."""
        if self._folder is None or not self._answering.formers or not self._formers.changed():
            return
        answering = self._formers.find()
        models = [name for name in self._answering.formers if not answering.hash(name)]
        if models:
            self._folder.end_takeovers(models)
            self._answering = self._answering.without(models)
            if not self._answering.formers:
                self._formers.close()
            _log.info("former_definitions_retired", models=models)

    def report(self, status: ServiceStatus) -> None:
        """Update the status."""
        self._status.report(status, self._folder, self._joiners, self._answering)

    def close(self) -> None:
        """Acknowledge a last time, and release the leases."""
        try:
            self.acknowledge()
            for lease in self._leases:
                lease.release()
            for joiner in self._joiners:
                joiner.stop_remaking()
        finally:
            self._formers.close()

    def _saved(self) -> Mapping[Any, Position]:
        positions: dict[Any, Position] = {}
        if self._folder is not None:
            positions.update(self._folder.done())
        for joiner in self._joiners:
            positions.update({(joiner.model.name, topic): position for topic, position in joiner.done().items()})
        return positions

    def _fold_lane(self) -> Lane:
        store = self._store
        topics = {stream.name: self._of(stream, self._topics.stream(stream.name)) for stream in self._loop.streams}
        for model in self._loop.models:
            # Check the topics before the first vector is sent.
            self._features(model)
        self._answering = self._formers.find()
        if not self._answering.formers:
            self._formers.close()
        fold = Fold(self._answering.folded, wide=self._answering.wide)
        outputs = VectorOutputs(self._client, self._topics)
        worker = FoldWorker(
            fold,
            RowStore(store, fold.loop),
            self._partitions,
            outputs,
            dead_letters=DeadLetterWriter(self._client, self._topics, "feature"),
            heartbeat=self._heartbeat,
            max_rows=self._settings.rows,
            answering=self._answering,
            wake=outputs.wake,
            durable=self._durability.wait,
            max_bytes=self._settings.row_bytes,
        )
        self._folder = worker
        sources: list[FoldSource] = []
        for stream in self._loop.streams:
            for index, topic in enumerate(topics[stream.name]):
                partition = PartitionId(stream.name, index)
                if worker.lacks_a_part(partition):
                    wake(self._client, topic)
                progress = partial(self._owner_progress, partition)
                subscribe = partial(self._consumer, topic, "feature", partition, progress)
                sources.append(FoldSource(worker, partition, subscribe, bound=4 * self._settings.batch))
        return Lane("fold", sources, worker)

    def _join_lane(self, model: ModelDefinition) -> Lane:
        stream = self._loop.label(model.label).stream
        features = self._features(model)
        labels = self._of(self._loop.stream(stream), self._topics.stream(stream))
        lease = Lease(self._store, self._loop.name, f"join:{model.name}", self._settings.instance)
        dead_letters = DeadLetterWriter(self._client, self._topics, "join")
        worker = JoinWorker(
            self._loop,
            model,
            features,
            labels,
            pairs=PairStore(self._store, self._loop.name, model.name, Rule.of(self._loop, model)),
            log=ExamplesLog(self._client, self._topics, model),
            lease=lease,
            heartbeat=self._heartbeat,
            durable=self._durability.wait,
            refuse=partial(dead_letters.refuse_messages, model.stream, f"vectors of model {model.name}"),
            remake=lambda former: ExampleRemaker(
                self._loop, model, BrokerLogs(self._client), self._topics, former=former
            ),
        )
        self._leases.append(lease)
        self._joiners.append(worker)
        sources = [
            JoinSource(
                worker,
                topic,
                self._join_subscription(model, topic),
                partial(self._is_idle, PartitionId(model.stream, index)),
            )
            for index, topic in enumerate(features)
        ]
        sources += [JoinSource(worker, topic, self._join_subscription(model, topic)) for topic in labels]
        return Lane(f"join-{model.name}", sources, worker)

    def _features(self, model: ModelDefinition) -> list[str]:
        topic = self._topics.features(model.name)
        if model.vectors == "requests":
            # No source partition writes these: vectors are known by their ids, in any partition.
            return connection.partitions(self._client, topic)
        return self._of(self._loop.stream(model.stream), topic)

    def _of(self, stream: StreamDefinition, topic: str) -> list[str]:
        return connection.declared_partitions(self._client, topic, stream)

    def _join_subscription(self, model: ModelDefinition, topic: str) -> Callable[[], PartitionConsumer]:
        return partial(self._consumer, topic, f"join-{model.name}", (model.name, topic))

    def _is_idle(self, partition: PartitionId) -> bool:
        if self._folder is not None:
            return self._folder.is_idle(partition)
        report = self._partitions.owner_reports([partition])[partition]
        return report is None or report.reached.out >= IDLE

    def _owner_progress(self, partition: PartitionId) -> OwnerProgress:
        """Return how far a partition is folded, by whichever process owns it."""
        report = self._partitions.owner_reports([partition])[partition]
        with store_connection.store_errors():
            statuses = StatusBoard(self._store, self._loop.name).read()
        others = [status.partitions for status in statuses if status.instance != self._settings.instance]
        alive = any(entry.owned for partitions in others if (entry := partitions.get(str(partition))) is not None)
        if report is None:
            return OwnerProgress(alive=alive)
        return OwnerProgress(report.done, report, alive, report.needs_owner)

    def _consumer(
        self, topic: str, subscription: str, source: Any, owner_progress: Callable[[], OwnerProgress] | None = None
    ) -> PartitionConsumer:
        consumer = PartitionConsumer(
            self._client,
            topic,
            subscription,
            self._settings.batch,
            name=self._settings.instance,
            queue=4 * self._settings.batch,
            owner_progress=owner_progress,
        )
        self._acknowledger.add(source, consumer)
        if isinstance(source, PartitionId):
            self._unread.watch(source, consumer)
        return consumer
