"""Services that start before their servers, or lose them: not ready meanwhile, and ready again without help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headrace import compiler, embedded
from headrace.embedded.ports import HOST, free_port
from headrace.embedded.processes import SERVICES
from headrace.runtime.grpc.server import LIVE, UNREACHABLE
from headrace.runtime.redis.status import ServiceStatus, StatusBoard
from headrace.wire import compiled_loop
from tests.deadline import until

SERVING = health_pb2.HealthCheckResponse.SERVING
NAME = "shop"
SCORING = "headrace.v1.ScoringService"
#: Generous: the machine may be slow, and a client gives an operation on the broker ten seconds.
SECONDS = 120.0

LOOP = """
from datetime import datetime

from river.linear_model import LogisticRegression
from river.preprocessing import StandardScaler

from headrace import Count, Label, Mean, Model, Stream, View, col


class Payment(Stream, key="card", time="at", id="payment"):
    payment: str
    at: datetime
    card: str
    amount: float


class Outcome(Stream, key="payment", time="at", id="payment"):
    payment: str
    at: datetime
    fraud: bool


spending = View(Payment, by="card", windows=["1h", "7d"], aggregates={"mean": Mean("amount"), "count": Count()})
fraud = Label(Outcome, of=Payment, value=col("fraud"), within="30d")

Model(
    "fraudulent",
    on=Payment,
    label=fraud,
    features=[spending, col("amount").signed_log()],
    learner=lambda: StandardScaler() | LogisticRegression(),
)
"""


class Process:
    """A service in its own process, and what it reports."""

    def __init__(
        self,
        service: str,
        directory: Path,
        broker: embedded.Broker,
        store: embedded.Store,
        environment: dict[str, str],
    ) -> None:
        self.service = service
        self.store = store
        self.log = directory / f"{service}.log"
        self.address = f"{HOST}:{free_port()}"
        urls = {
            "HEADRACE_PULSAR_URL": broker.url,
            "HEADRACE_REDIS_URL": store.url,
            "HEADRACE_BIND": self.address,
            "HEADRACE_DATA": str(directory / "data"),
            "HEADRACE_INSTANCE": service,
            "HEADRACE_LOOP_FILE": str(directory / f"{NAME}.py"),
        }
        command = [sys.executable, "-m", SERVICES[service], "--loop", str(directory / "loop.json")]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=os.environ | urls | environment, stderr=log)
        self._health = health_pb2_grpc.HealthStub(grpc.insecure_channel(self.address))

    def serves(self, name: str = "") -> bool:
        answer = self._health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10, wait_for_ready=True)
        return bool(answer.status == SERVING)

    def unreachable(self) -> set[str]:
        """Return the servers that its health check names."""
        assert self.process.poll() is None, self.log.read_text()
        request = health_pb2.HealthCheckRequest()
        _, call = self._health.Check.with_call(request, timeout=30, wait_for_ready=True)
        return {str(value) for name, value in call.trailing_metadata() if name == UNREACHABLE}

    def lacks(self, *servers: str) -> None:
        """Wait until it reports that it cannot reach these servers, and no others."""
        until(self.unreachable, lambda found: found == set(servers), SECONDS)

    def becomes_ready(self) -> None:
        """Wait until it serves, and its status says so."""
        until(self.serves, seconds=SECONDS)
        until(self.status, lambda found: found is not None and found.state == "ready", SECONDS)

    def becomes_unready(self) -> None:
        """Wait until it no longer serves."""
        until(lambda: not self.serves(), seconds=SECONDS)

    def status(self) -> ServiceStatus | None:
        with redis.Redis.from_url(self.store.url) as store:
            return next((status for status in StatusBoard(store, NAME).read() if status.service == self.service), None)

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def end(self) -> int:
        """Ask it to end; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[embedded.Broker, embedded.Store]]:
    """Yield servers that are down, with addresses that they keep."""
    broker, store = embedded.broker(tmp_path), embedded.store(tmp_path)
    for server in (broker, store):
        server.start()
        server.stop()
    yield broker, store
    for server in (broker, store):
        server.stop()


@contextmanager
def running(
    service: str, directory: Path, broker: embedded.Broker, store: embedded.Store, **environment: str
) -> Iterator[Process]:
    directory.mkdir(exist_ok=True)
    (directory / f"{NAME}.py").write_text(LOOP)
    loaded = compiler.load(directory / f"{NAME}.py")
    (directory / "loop.json").write_bytes(compiled_loop.encode(loaded.definition))
    process = Process(service, directory, broker, store, environment)
    try:
        yield process
    finally:
        process.process.kill()
        process.process.wait()


@pytest.fixture
def services(tmp_path: Path, servers: tuple[embedded.Broker, embedded.Store]) -> Iterator[list[Process]]:
    """Yield all four services, whose waits overlap."""
    with ExitStack() as started:
        yield [started.enter_context(running(service, tmp_path / service, *servers)) for service in SERVICES]


def test_services_are_ready_while_they_reach_both_servers(
    services: list[Process], servers: tuple[embedded.Broker, embedded.Store]
) -> None:
    broker, store = servers
    names = {"broker": f"broker {broker.url}", "store": f"store {store.url}"}
    for process in services:
        process.lacks(*names.values())
        assert process.serves(LIVE)
        process.becomes_unready()
    store.start()
    for process in services:
        process.lacks(names["broker"])
        status = until(process.status, lambda found: found is not None and broker.url in found.note, SECONDS)
        assert status is not None
        assert status.state in ("starting", "waiting")
    broker.start()
    for process in services:
        process.becomes_ready()

    store.kill()
    for process in services:
        process.lacks(names["store"])
        process.becomes_unready()
    store.start()
    for process in services:
        process.becomes_ready()

    broker.kill()
    for process in services:
        process.lacks(names["broker"])
        status = until(process.status, lambda found: found is not None and found.state == "waiting", SECONDS)
        assert status is not None
        assert f"cannot reach the broker at {broker.url}" in status.note
    broker.start()
    for process in services:
        process.becomes_ready()

    for process in services:
        for name, server in (("broker", broker), ("store", store)):
            failures = process.logged(f"{name}_unreachable")
            assert {line["address"] for line in failures} == {server.url}
            assert process.logged(f"{name}_reachable")
        assert process.end() == 0


def test_services_that_wait_for_their_servers_can_be_stopped(services: list[Process]) -> None:
    for process in services:
        process.unreachable()
    for process in services:
        assert process.end() == 0


@pytest.mark.parametrize(("down", "answers"), [("fail", False), ("missing", True)])
def test_a_scorer_serves_requests_without_what_it_does_not_need(
    down: str, answers: bool, tmp_path: Path, servers: tuple[embedded.Broker, embedded.Store]
) -> None:
    broker, store = servers
    store.start()
    with running("scorer", tmp_path, broker, store, HEADRACE_STORE_DOWN=down) as process:
        process.lacks(f"broker {broker.url}")
        assert process.serves(SCORING), "requests are answered without a broker"
        store.kill()
        process.lacks(f"broker {broker.url}", f"store {store.url}")
        assert process.serves(SCORING) is answers
