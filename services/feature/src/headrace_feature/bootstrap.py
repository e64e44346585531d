"""The composition root of the feature service."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pulsar
import redis

from headrace import logs
from headrace.definition import LoopDefinition, ModelDefinition, StreamDefinition
from headrace.errors import Unavailable
from headrace.kernel.fold import Fold
from headrace.kernel.partition import PartitionId
from headrace.log import connection
from headrace.log.consume import Batch, PartitionConsumer
from headrace.log.position import Position
from headrace.log.produce import Producer
from headrace.log.refusals import Refusals
from headrace.log.topics import Topics
from headrace.rpc import Server
from headrace.store import connection as store_connection
from headrace.store.pairs import PairStore
from headrace.store.partitions import Durability, PartitionStore
from headrace.store.rows import RowStore
from headrace.store.status import PERIOD, Heartbeat, ServiceStatus, StatusBoard
from headrace_feature.app import FeatureApp, Lane, Source
from headrace_feature.durable import Acknowledger
from headrace_feature.folding import FoldWorker
from headrace_feature.joining import JoinWorker
from headrace_feature.outputs import VectorOutputs
from headrace_feature.settings import FeatureSettings


async def run(settings: FeatureSettings) -> None:
    """Run the service until SIGTERM or SIGINT."""
    logs.configure("feature", settings.instance)
    loop = settings.definition()
    client = connection.connect(settings)
    store = store_connection.connect(settings.redis_url)
    status = ServiceStatus(service="feature", instance=settings.instance)
    heartbeat = Heartbeat(StatusBoard(store, loop.name), status)
    service = Composition(settings, loop, client, store, heartbeat)
    server = Server(settings.bind, {})
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = await asyncio.to_thread(service.lanes)
    feature = FeatureApp(app, loop.idle / 1e6, [(0.5, service.acknowledge), (PERIOD, service.beat)], settings.web_port)
    await server.start()
    await feature.start()
    status.state, status.address = "ready", server.address
    await asyncio.to_thread(service.beat)
    try:
        await feature.wait(stop)
    finally:
        await server.stop()
        await feature.stop()
        await asyncio.to_thread(service.close)


class Composition:
    """Builds the lanes of one process from its settings."""

    def __init__(
        self,
        settings: FeatureSettings,
        loop: LoopDefinition,
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
        self._acknowledger = Acknowledger(Durability(store_connection.connect(settings.redis_url), loop.name))
        self._folder: FoldWorker | None = None
        self._joiners: list[JoinWorker] = []

    def lanes(self) -> list[Lane]:
        """Connect, and build what this process's role asks for."""
        role = self._settings.role
        lanes = [self._fold_lane()] if role in ("all", "fold") else []
        if role in ("all", "join"):
            lanes += [self._join_lane(model) for model in self._loop.models]
        return lanes

    def acknowledge(self) -> None:
        """Acknowledge what is durable."""
        self._acknowledger.run(self._saved)

    def beat(self) -> None:
        """Publish the status."""
        if self._folder is not None:
            self._heartbeat.status.frontier = self._folder.frontier()
            self._heartbeat.status.newest = self._folder.newest()
        with store_connection.store_errors():
            self._heartbeat.beat()

    def close(self) -> None:
        """Acknowledge a last time and go."""
        self.acknowledge()
        self._heartbeat.end()
        self._client.close()

    def _saved(self) -> Mapping[Any, Position]:
        saved: dict[Any, Position] = {}
        if self._folder is not None:
            saved.update(self._folder.done())
        for joiner in self._joiners:
            saved.update({(joiner.model.name, topic): position for topic, position in joiner.done().items()})
        return saved

    def _fold_lane(self) -> Lane:
        loop, store = self._loop, self._store
        worker = FoldWorker(
            Fold(loop),
            RowStore(store, loop),
            PartitionStore(store, loop.name),
            VectorOutputs(self._client, self._topics),
            Refusals(Producer(self._client, self._topics.dead_letters), self._topics, "feature"),
            self._heartbeat,
            self._settings.rows,
        )
        self._folder = worker
        sources = []
        for stream in loop.streams:
            physical = connection.partitions(self._client, self._topics.stream(stream.name))
            _check_partitions(stream, physical)
            for index, topic in enumerate(physical):
                partition = PartitionId(stream.name, index)
                consumer = self._consumer(topic, "feature", partition)
                sources.append(
                    Source(
                        f"{stream.name}-{index}",
                        consumer,
                        partial(worker.take_over, partition),
                        partial(_accept, worker, partition),
                        partial(worker.rest, partition),
                        partial(worker.full, partition, 4 * self._settings.batch),
                    )
                )
        return Lane("fold", sources, worker.step)

    def _join_lane(self, model: ModelDefinition) -> Lane:
        worker = JoinWorker(
            self._loop,
            model,
            PairStore(self._store, self._loop.name, model.name),
            Producer(self._client, self._topics.examples(model.name)),
            self._heartbeat,
        )
        self._joiners.append(worker)
        subscription = f"join-{model.name}"
        sources = [
            self._join_source(
                worker, topic, subscription, worker.add_features(topic), worker.accept_vectors,
                partial(self._rest_features, worker, topic, PartitionId(model.stream, index)),
            )
            for index, topic in enumerate(connection.partitions(self._client, self._topics.features(model.name)))
        ]  # fmt: skip
        stream = self._loop.label(model.label).stream
        sources += [
            self._join_source(
                worker, topic, subscription, worker.add_labels(topic), worker.accept_labels, partial(worker.rest, topic)
            )
            for topic in connection.partitions(self._client, self._topics.stream(stream))
        ]
        return Lane(f"join-{model.name}", sources, worker.step)

    def _join_source(
        self, worker: JoinWorker, topic: str, subscription: str, position: Position, accept: Any,
        rest: Callable[[Position], None],
    ) -> Source:  # fmt: skip
        return Source(
            topic.rpartition("/")[2],
            self._consumer(topic, subscription, (worker.model.name, topic)),
            lambda: position,
            partial(accept, topic),
            rest,
            lambda: False,
        )

    def _rest_features(self, worker: JoinWorker, topic: str, partition: PartitionId, end: Position) -> None:
        """Vectors are silent also while the fold is held up; then more of them are to come."""
        if self._folder is None or self._folder.rests(partition):
            worker.rest(topic, end)

    def _consumer(self, topic: str, subscription: str, source: Any) -> PartitionConsumer:
        consumer = PartitionConsumer(
            self._client,
            topic,
            subscription,
            self._settings.batch,
            name=self._settings.instance,
            queue=4 * self._settings.batch,
        )
        self._acknowledger.add(source, consumer)
        return consumer


def _check_partitions(stream: StreamDefinition, physical: Sequence[str]) -> None:
    if len(physical) != stream.partitions:
        raise Unavailable(
            f"stream {stream.name!r} declares {stream.partitions} partitions, its topic has {len(physical)}: "
            f"create {physical[0].partition('-partition-')[0]} as a partitioned topic, or declare what is there"
        )


def _accept(worker: FoldWorker, partition: PartitionId, batch: Batch) -> None:
    worker.accept(partition, worker.decode(partition, batch))
