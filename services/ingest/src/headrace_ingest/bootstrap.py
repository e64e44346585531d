"""The composition root of the ingest service, and its main loop."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import pulsar
import redis
import structlog

from headrace.definition import LoopDefinition
from headrace.runtime.grpc.call_limits import CallLimits
from headrace.runtime.grpc.server import Server
from headrace.runtime.pulsar import probe
from headrace.runtime.pulsar.connection import connect, partitions
from headrace.runtime.pulsar.dead_letter_writer import LetterProducer
from headrace.runtime.pulsar.producer import Producer
from headrace.runtime.pulsar.stream_schema import StreamSchema
from headrace.runtime.readiness import Dependencies, start_when_reachable
from headrace.runtime.redis.decisions import DecisionBoard
from headrace.runtime.redis.probe import store as watched_store
from headrace.runtime.redis.status import Heartbeat, ServiceStatus, StatusBoard
from headrace.wire.topics import Topics
from headrace_ingest.admission import Admission
from headrace_ingest.decisions import StoredDecisions
from headrace_ingest.event_log import PulsarLog
from headrace_ingest.handlers import Ingest
from headrace_ingest.lane import Lane
from headrace_ingest.room import Room
from headrace_ingest.servicer import SERVICE, Servicer
from headrace_ingest.settings import IngestSettings

_log = structlog.get_logger()
_BEAT_S = 1.0
#: Messages that one flush may wait for; a round of a lane fits.
_MAX_PENDING = 10_000
#: Events in one message of `PublishStream`, and single events that are received at once.
_MOST_EVENTS, _RECEIVING = 100_000, 8


def now() -> int:
    """Return the wall clock, µs since the epoch."""
    return time.time_ns() // 1_000


async def run(settings: IngestSettings) -> None:
    """Run the service until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    loop = settings.definition()
    client = connect(settings)
    store = redis.Redis.from_url(settings.redis_url, socket_timeout=5, socket_connect_timeout=5)
    build = _Build(settings, loop, client, asyncio.get_running_loop())
    broker = probe.broker(client, settings.pulsar_url, build.topics.dead_letters)
    dependencies = Dependencies(broker, watched_store(settings.redis_url))
    servicer = Servicer()
    server = Server(
        settings.bind,
        {SERVICE: servicer.add_to},
        dependencies=dependencies,
        needs={SERVICE: [broker.name]},
        limits=_limits(settings),
    )
    status = ServiceStatus(service="ingest", instance=settings.instance, counters={"accepted": 0, "rejected": 0})
    status.address = server.address
    heartbeat = Heartbeat(StatusBoard(store, loop.name), status)
    beats = asyncio.create_task(_beat(heartbeat, server, dependencies))
    try:
        dependencies.start()
        await server.start(started=False)
        producers = await start_when_reachable(dependencies, build.producers, stop, [broker.name])
        if producers is not None:
            log = build.log(producers)
            decisions = StoredDecisions(DecisionBoard(store, loop.name), loop, settings.decision_s)
            servicer.begin(Ingest(build.admissions(), log, decisions, heartbeat.count))
            await server.begin()
            _log.info("ready", address=server.address, loop=loop.name, streams=list(producers.streams))
            await stop.wait()
        await server.stop()
        if producers is not None:
            await log.close()
    finally:
        beats.cancel()
        dependencies.stop()
        await asyncio.to_thread(_end, heartbeat)
        await asyncio.to_thread(client.close)
        await asyncio.to_thread(dependencies.join)
        store.close()
    _log.info("stopped")


@dataclass(frozen=True)
class _Producers:
    """The producer of each stream, that of the dead letters, and the partitions of each stream's topic."""

    streams: Mapping[str, Producer]
    dead_letters: Producer
    partitions: Mapping[str, int]


class _Build:
    """The builder of lanes. The client's calls wait for the broker, so `producers` runs in a thread."""

    def __init__(
        self, settings: IngestSettings, loop: LoopDefinition, client: pulsar.Client, events: asyncio.AbstractEventLoop
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._client = client
        self._events = events
        self.topics = Topics(loop.name, settings.namespace)

    def producers(self) -> _Producers:
        """Open all topics, or none.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        topics = {stream.name: self.topics.stream(stream.name) for stream in self._loop.streams}
        counts = {name: len(partitions(self._client, topic)) for name, topic in topics.items()}
        with ExitStack() as stack:
            streams = {
                # The schema registers the stream's type with the broker before other clients can write another.
                stream.name: self._producer(stack, topics[stream.name], StreamSchema(stream))
                for stream in self._loop.streams
            }
            letters = self._producer(stack, self.topics.dead_letters, None, LetterProducer)
            stack.pop_all()
        return _Producers(streams, letters, counts)

    def log(self, producers: _Producers) -> PulsarLog:
        """Make a lane for each topic."""
        lanes = {
            name: self._lane(f"stream {name}", producer, producers.partitions[name])
            for name, producer in producers.streams.items()
        }
        return PulsarLog(lanes, self._lane("dead letters", producers.dead_letters, 1), now)

    def admissions(self) -> dict[str, Admission]:
        """Make the admission of each stream."""
        return {stream.name: Admission(stream, now) for stream in self._loop.streams}

    def _producer(
        self, stack: ExitStack, topic: str, schema: pulsar.schema.Schema | None, kind: type[Producer] = Producer
    ) -> Producer:
        producer = kind(
            self._client,
            topic,
            batching=True,
            schema=schema,
            max_pending=_MAX_PENDING,
            timeout_s=self._settings.patience_s,
        )
        stack.callback(producer.close)
        return producer

    def _lane(self, name: str, producer: Producer, partitions: int) -> Lane:
        room = Room(name, self._settings.in_flight_bytes, self._settings.patience_s)
        return Lane(producer, partitions, room, self._events)


def _limits(settings: IngestSettings) -> CallLimits:
    return CallLimits(
        # Python refuses calls beyond its own bounds and names a delay, so gRPC must accept a few more.
        calls=2 * (settings.max_calls + settings.max_streams),
        held=settings.max_calls,
        streams=settings.max_streams,
        held_bytes=settings.held_bytes,
        receiving=_RECEIVING,
        fields={f"/{SERVICE}/PublishStream": _MOST_EVENTS},
    )


async def _beat(heartbeat: Heartbeat, server: Server, dependencies: Dependencies) -> None:
    while True:
        heartbeat.status.state = dependencies.state() if server.started else "starting"
        heartbeat.status.note = dependencies.note()
        try:
            await asyncio.to_thread(heartbeat.beat)
        except redis.RedisError as error:
            # Ingest needs the store for its status only, so it continues without it.
            _log.warning("status_not_written", error=str(error))
        await asyncio.sleep(_BEAT_S)


def _end(heartbeat: Heartbeat) -> None:
    try:
        heartbeat.end()
    except redis.RedisError as error:
        _log.warning("status_not_removed", error=str(error))
