"""The composition root of the ingest service."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import pulsar
import uvloop

from headrace.runtime.clock import wall_clock
from headrace.runtime.grpc.call_limits import CallLimits
from headrace.runtime.pulsar.connection import partitions
from headrace.runtime.pulsar.dead_letter_writer import DeadLetterProducer
from headrace.runtime.pulsar.producer import Producer
from headrace.runtime.pulsar.stream_schema import StreamSchema
from headrace.runtime.readiness import start_when_reachable
from headrace.runtime.redis.connection import connect_without_retries
from headrace.runtime.redis.decisions import DecisionBoard
from headrace.runtime.redis.status import ServiceStatus
from headrace.runtime.service import App, Endpoint, Program, Service
from headrace_ingest.admission import Admission
from headrace_ingest.decisions import StoredDecisions
from headrace_ingest.grpc.servicer import SERVICE, Servicer
from headrace_ingest.handlers import Ingest
from headrace_ingest.in_flight import InFlightLimit
from headrace_ingest.pulsar.event_log import PulsarLog
from headrace_ingest.pulsar.topic_writer import TopicWriter
from headrace_ingest.settings import IngestSettings

#: Messages that one flush may wait for; a round of a writer fits.
_MAX_PENDING = 10_000
#: Events in one message of `PublishStream`, and single events that are received at once.
_MOST_EVENTS, _RECEIVING = 100_000, 8
#: The largest request: the clients of headrace send 4 MiB, and a broker takes no event of more than 5 MB.
_MESSAGE_BYTES = 6 * 2**20


class IngestApp(App):
    """The gRPC service, and a writer for each topic."""

    def __init__(self, service: Service[IngestSettings]) -> None:
        self._service = service
        self._settings = service.settings
        self._loop = service.loop
        self._servicer = Servicer()
        self._store = connect_without_retries(service.settings.redis_url)
        self._log: PulsarLog | None = None
        service.heartbeat.status.counters = {"accepted": 0, "rejected": 0}

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint({SERVICE: self._servicer.add_to}, {SERVICE: ["broker"]}, _limits(self._settings))

    async def start(self) -> None:
        """Open the topics once the broker answers; the store is needed for the status and for decisions alone."""
        service = self._service
        producers = await start_when_reachable(service.dependencies, self._producers, service.stopping, ["broker"])
        if producers is None:
            return
        self._log = self._event_log(producers)
        admissions = {stream.name: Admission(stream, wall_clock) for stream in self._loop.streams}
        board = DecisionBoard(self._store, self._loop.name)
        decisions = StoredDecisions(board, self._loop, self._settings.decision_s)
        self._servicer.begin(Ingest(admissions, self._log, decisions, service.count))

    def report(self, status: ServiceStatus) -> None:
        """Add nothing: the handlers count in the status."""

    async def stop(self) -> None:
        """Send what callers have been promised."""
        if self._log is not None:
            await self._log.close()
        self._store.close()

    def _producers(self) -> _Producers:
        """Open all topics, or none. It waits for the broker, so it runs in a thread.

        Raises
        ------
        Unavailable
            The broker does not answer.
        """
        topics = {stream.name: self._service.topics.stream(stream.name) for stream in self._loop.streams}
        counts = {name: len(partitions(self._service.client, topic)) for name, topic in topics.items()}
        with ExitStack() as stack:
            streams = {
                # The schema registers the stream's type with the broker before other clients can write another.
                stream.name: self._producer(stack, topics[stream.name], StreamSchema(stream))
                for stream in self._loop.streams
            }
            dead_letters = self._producer(stack, self._service.topics.dead_letters, None, DeadLetterProducer)
            stack.pop_all()
        return _Producers(streams, dead_letters, counts)

    def _producer(
        self, stack: ExitStack, topic: str, schema: pulsar.schema.Schema | None, kind: type[Producer] = Producer
    ) -> Producer:
        producer = kind(
            self._service.client,
            topic,
            batching=True,
            schema=schema,
            max_pending=_MAX_PENDING,
            timeout_s=self._settings.patience_s,
        )
        stack.callback(producer.close)
        return producer

    def _event_log(self, producers: _Producers) -> PulsarLog:
        writers = {
            name: self._writer(f"stream {name}", producer, producers.partitions[name])
            for name, producer in producers.streams.items()
        }
        return PulsarLog(writers, self._writer("dead letters", producers.dead_letters, 1), wall_clock)

    def _writer(self, name: str, producer: Producer, partitions: int) -> TopicWriter:
        limit = InFlightLimit(name, self._settings.in_flight_bytes, self._settings.patience_s)
        return TopicWriter(producer, partitions, limit, asyncio.get_running_loop())


@dataclass(frozen=True)
class _Producers:
    """The producer of each stream, that of the dead letters, and the partitions of each stream's topic."""

    streams: Mapping[str, Producer]
    dead_letters: Producer
    partitions: Mapping[str, int]


def _limits(settings: IngestSettings) -> CallLimits:
    return CallLimits(
        # Python refuses calls beyond its own bounds and names a delay, so gRPC must accept a few more.
        calls=2 * (settings.max_calls + settings.max_streams),
        held=settings.max_calls,
        streams=settings.max_streams,
        held_bytes=settings.held_bytes,
        receiving=_RECEIVING,
        message_bytes=_MESSAGE_BYTES,
        fields={f"/{SERVICE}/PublishStream": _MOST_EVENTS},
    )


PROGRAM = Program(
    name="ingest",
    description="Accept events over gRPC and write them to their streams.",
    settings=IngestSettings,
    app=IngestApp,
    event_loop=uvloop.new_event_loop,
)
