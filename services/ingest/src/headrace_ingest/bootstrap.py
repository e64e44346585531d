"""Composes the ingest service from its parts, and runs it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pulsar
import redis
import structlog

from headrace.definition import LoopDefinition, StreamDefinition
from headrace.log.connection import connect, partitions
from headrace.log.produce import Producer
from headrace.log.topics import Topics
from headrace.rpc import Server
from headrace.store.decisions import DecisionBoard
from headrace.store.status import Heartbeat, ServiceStatus, StatusBoard
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
#: Messages that one flush waits for; a round of a lane fits.
_MAX_PENDING = 10_000


def now() -> int:
    """The wall clock, µs since the epoch."""
    return time.time_ns() // 1_000


@asynccontextmanager
async def serving(settings: IngestSettings) -> AsyncIterator[str]:
    """Run the service for a block; gives its address."""
    loop = settings.definition()
    client = connect(settings)
    store = redis.Redis.from_url(settings.redis_url, socket_timeout=5, socket_connect_timeout=5)
    status = ServiceStatus(service="ingest", instance=settings.instance, counters={"accepted": 0, "rejected": 0})
    heartbeat = Heartbeat(StatusBoard(store, loop.name), status)
    build = _Build(settings, loop, client, asyncio.get_running_loop())
    try:
        counts = {stream.name: await asyncio.to_thread(build.partitions, stream) for stream in loop.streams}
        lanes = {
            stream.name: await asyncio.to_thread(build.stream, stream, counts[stream.name]) for stream in loop.streams
        }
        log = PulsarLog(lanes, await asyncio.to_thread(build.dead_letters), now)
        admissions = {stream.name: Admission(stream, now) for stream in loop.streams}
        decisions = StoredDecisions(DecisionBoard(store, loop.name), loop, settings.decision_s)
        servicer = Servicer(Ingest(admissions, log, decisions, heartbeat.count))
        server = Server(settings.bind, {SERVICE: servicer.add_to})
        await server.start()
        status.address, status.state = server.address, "ready"
        beats = asyncio.create_task(_beat(heartbeat))
        _log.info("ready", address=server.address, loop=loop.name, streams=list(lanes))
        try:
            yield server.address
        finally:
            await server.stop()
            beats.cancel()
            await log.close()
            await asyncio.to_thread(_end, heartbeat)
    finally:
        await asyncio.to_thread(client.close)
        store.close()


async def run(settings: IngestSettings) -> None:
    """Run the service until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with serving(settings):
        await stopped.wait()
    _log.info("stopped")


class _Build:
    """Makes the lanes. The client's calls wait for the broker, so these run in threads."""

    def __init__(
        self, settings: IngestSettings, loop: LoopDefinition, client: pulsar.Client, events: asyncio.AbstractEventLoop
    ) -> None:
        self._settings = settings
        self._client = client
        self._events = events
        self._topics = Topics(loop.name, settings.namespace)

    def partitions(self, stream: StreamDefinition) -> int:
        return len(partitions(self._client, self._topics.stream(stream.name)))

    def stream(self, stream: StreamDefinition, partitions: int) -> Lane:
        # The codec's schema registers the stream's type with the broker before anybody else can write another one.
        schema = Admission(stream, now).codec.schema()
        return self._lane(f"stream {stream.name}", self._topics.stream(stream.name), partitions, schema)

    def dead_letters(self) -> Lane:
        return self._lane("dead letters", self._topics.dead_letters, 1, None)

    def _lane(self, what: str, topic: str, partitions: int, schema: pulsar.schema.Schema | None) -> Lane:
        producer = Producer(
            self._client,
            topic,
            batching=True,
            schema=schema,
            max_pending=_MAX_PENDING,
            timeout_s=self._settings.patience_s,
        )
        room = Room(what, self._settings.in_flight_bytes, self._settings.patience_s)
        return Lane(producer, partitions, room, self._events)


async def _beat(heartbeat: Heartbeat) -> None:
    while True:
        try:
            await asyncio.to_thread(heartbeat.beat)
        except redis.RedisError as error:
            # Ingest needs the store for its status alone, so it goes on without.
            _log.warning("no status written", error=str(error))
        await asyncio.sleep(_BEAT_S)


def _end(heartbeat: Heartbeat) -> None:
    try:
        heartbeat.end()
    except redis.RedisError as error:
        _log.warning("status not removed", error=str(error))
