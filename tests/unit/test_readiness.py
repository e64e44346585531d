"""Readiness: unreachable servers are reported by name, and retried with growing delays until they answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headrace.errors import Unavailable
from headrace.runtime.grpc.server import LIVE, UNREACHABLE, Server
from headrace.runtime.readiness import Backoff, Dependencies, Dependency, Watch, public_address, start_when_reachable
from headrace.v1 import ingest_pb2, ingest_pb2_grpc

SERVICE = "headrace.v1.IngestService"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Away:
    """A server that answers or not, as the test decides."""

    def __init__(self, name: str = "broker", address: str = "pulsar://pulsar:6650", away: bool = True) -> None:
        self.away = away
        self.asked = threading.Event()
        self.dependency = Dependency(name, address, self._probe)

    def _probe(self) -> None:
        self.asked.set()
        if self.away:
            raise ConnectionError("ConnectError")


def test_delays_grow_up_to_the_longest() -> None:
    backoff = Backoff(first=1.0, longest=5.0)
    assert [backoff.next() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.next() == 1.0


def test_a_watch_retries_with_growing_delays_and_logs() -> None:
    server, now = Away(), iter(range(100))
    watch = Watch(server.dependency, period=60.0, clock=lambda: float(next(now)))
    with structlog.testing.capture_logs() as logs:
        delays = [watch.probe() for _ in range(6)]
        server.away = False
        assert watch.probe() == 60.0
        server.away = True
        assert watch.probe() == delays[0], "a new absence begins with the first delay"
    assert delays == sorted(delays)
    assert delays[0] < delays[1] < delays[3]
    assert [line["event"] for line in logs] == 6 * ["broker_unreachable"] + ["broker_reachable", "broker_unreachable"]
    assert {line["address"] for line in logs} == {"pulsar://pulsar:6650"}
    assert logs[5]["for_s"] > logs[1]["for_s"]


def test_what_answers_all_the_time_is_not_logged_again() -> None:
    watch = Watch(Away(away=False).dependency)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            watch.probe()
    assert [line["event"] for line in logs] == ["broker_reachable"]


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("redis://:secret@store:6379/0", "redis://store:6379/0"),
        ("rediss://me:s@cret@store:6379/1?password=secret", "rediss://store:6379/1"),
        ("pulsar://a:6650,b:6650", "pulsar://a:6650,b:6650"),
    ],
)
def test_an_address_is_told_without_credentials(url: str, public: str) -> None:
    assert public_address(url) == public


def test_the_status_names_what_cannot_be_reached() -> None:
    broker, store = Away(), Away("store", "redis://valkey:6379/0", away=False)
    dependencies = Dependencies(broker.dependency, store.dependency)
    for watch in dependencies.watches:
        watch.probe()
    assert dependencies.state() == "waiting"
    assert dependencies.note("folds 2 partitions") == (
        "cannot reach the broker at pulsar://pulsar:6650: ConnectError; folds 2 partitions"
    )
    assert dependencies.unreachable(["store"]) == ()
    broker.away = False
    for watch in dependencies.watches:
        watch.probe()
    assert (dependencies.state(), dependencies.note()) == ("ready", "")


def test_nothing_is_ready_before_it_was_probed() -> None:
    assert Dependencies(Away(away=False).dependency).state() == "waiting"
    assert Dependencies().state() == "ready"


async def test_a_start_waits_for_its_dependency_and_retries() -> None:
    server, tries = Away(), list[int]()
    dependencies = Dependencies(server.dependency)

    def build() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise Unavailable("broker: cannot look up a topic")
        return "built"

    dependencies.start()
    starting = asyncio.create_task(start_when_reachable(dependencies, build, asyncio.Event()))
    await asyncio.to_thread(server.asked.wait)
    assert tries == []
    server.away = False
    with structlog.testing.capture_logs() as logs:
        assert await starting == "built"
    assert len(tries) == 2
    assert "start_postponed" in [line["event"] for line in logs]
    dependencies.stop()


async def test_a_start_that_is_stopped_while_it_waits_ends() -> None:
    dependencies, stop = Dependencies(Away().dependency), asyncio.Event()
    dependencies.start()
    starting = asyncio.create_task(start_when_reachable(dependencies, lambda: "built", stop))
    stop.set()
    assert await starting is None
    dependencies.stop()


async def test_a_start_does_not_wait_for_what_it_does_not_need() -> None:
    broker, store = Away(away=False), Away("store")
    dependencies = Dependencies(broker.dependency, store.dependency)
    dependencies.start()
    assert await start_when_reachable(dependencies, lambda: "built", asyncio.Event(), ["broker"]) == "built"
    dependencies.stop()


async def test_a_wrong_configuration_is_not_retried() -> None:
    dependencies = Dependencies()

    def build() -> str:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        await start_when_reachable(dependencies, build, asyncio.Event())


class _Ingest(ingest_pb2_grpc.IngestServiceServicer):
    async def Publish(self, request: ingest_pb2.PublishRequest, context: object) -> ingest_pb2.PublishResponse:  # noqa: N802
        return ingest_pb2.PublishResponse()


class Asking:
    """A caller of a server under test."""

    def __init__(self, server: Server, channel: grpc.aio.Channel) -> None:
        self.server = server
        self.ingest = ingest_pb2_grpc.IngestServiceStub(channel)  # type: ignore[no-untyped-call]
        self._health = health_pb2_grpc.HealthStub(channel)

    async def health(self, name: str = "") -> tuple[int, list[str]]:
        call = self._health.Check(health_pb2.HealthCheckRequest(service=name))
        answer = await call
        named = [value for key, value in await call.trailing_metadata() if key == UNREACHABLE]
        return answer.status, named

    async def until(self, status: int, name: str = "") -> None:
        """Wait until the health of a name has this status."""
        watching = self._health.Watch(health_pb2.HealthCheckRequest(service=name))
        async for answer in watching:
            if answer.status == status:
                break
        watching.cancel()


@asynccontextmanager
async def asking(dependencies: Dependencies, needs: list[str], started: bool = True) -> AsyncIterator[Asking]:
    def add(server: grpc.aio.Server) -> None:
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(_Ingest(), server)  # type: ignore[no-untyped-call]

    server = Server("127.0.0.1:0", {SERVICE: add}, dependencies=dependencies, needs={SERVICE: needs})
    dependencies.start()
    await server.start(started=started)
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            yield Asking(server, channel)
    finally:
        await server.stop(0)
        dependencies.stop()


async def test_health_follows_a_dependency_and_names_it() -> None:
    broker = Away()
    async with asyncio.timeout(60), asking(Dependencies(broker.dependency, period=0.02), ["broker"]) as caller:
        assert await caller.health() == (NOT_SERVING, ["broker pulsar://pulsar:6650"])
        assert (await caller.health(SERVICE))[0] == NOT_SERVING
        assert (await caller.health(LIVE))[0] == SERVING
        broker.away = False
        await caller.until(SERVING)
        assert await caller.health() == (SERVING, [])
        assert (await caller.health(SERVICE))[0] == SERVING
        broker.away = True
        await caller.until(NOT_SERVING)


async def test_a_service_that_does_without_goes_on_serving() -> None:
    async with asyncio.timeout(60), asking(Dependencies(Away().dependency), []) as caller:
        assert (await caller.health())[0] == NOT_SERVING
        assert (await caller.health(SERVICE))[0] == SERVING
        await caller.ingest.Publish(ingest_pb2.PublishRequest())


async def test_calls_are_refused_until_the_service_has_started() -> None:
    dependencies = Dependencies(Away().dependency)
    async with asyncio.timeout(60), asking(dependencies, [], started=False) as caller:
        assert (await caller.health(LIVE))[0] == SERVING
        assert (await caller.health(SERVICE))[0] == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.ingest.Publish(ingest_pb2.PublishRequest())
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "cannot reach the broker at pulsar://pulsar:6650" in str(refused.value.details())
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await caller.ingest.PublishStream(iter([ingest_pb2.PublishStreamRequest()]))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        await caller.server.begin()
        await caller.ingest.Publish(ingest_pb2.PublishRequest())
        assert (await caller.health(SERVICE))[0] == SERVING
