"""The ingest service as a process, on a local broker and store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulsar
import redis

from headrace.definition import Field, FieldType, LoopDefinition, StreamDefinition
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.connection import connect
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.redis.status import ServiceStatus, StatusBoard
from headrace.runtime.settings import ServiceSettings
from headrace.v1.dead_letter_pb2 import DeadLetter
from headrace.wire import compiled_loop
from headrace.wire.topics import Topics
from tests.brokers import Place
from tests.deadline import scaled, until

HOUR = 3_600_000_000


def stream(name: str) -> StreamDefinition:
    fields = (
        Field("id", FieldType.STRING),
        Field("at", FieldType.TIME),
        Field("user", FieldType.STRING),
        Field("amount", FieldType.FLOAT),
        Field("note", FieldType.STRING, optional=True),
    )
    return StreamDefinition(
        name, fields, key="user", time="at", id="id", lateness=HOUR, horizon=0, max_bytes=10_000, time_format="us"
    )


@dataclass
class Ingesting:
    """A running service, and what it wrote."""

    loop: LoopDefinition
    loop_json: Path
    place: Place
    redis_url: str
    process: subprocess.Popen[bytes]
    address: str

    @property
    def topics(self) -> Topics:
        return self.place.topics(self.loop.name)

    def status(self, service: str = "ingest") -> ServiceStatus | None:
        with redis.Redis.from_url(self.redis_url) as store:
            statuses = StatusBoard(store, self.loop.name).read()
        return next((status for status in statuses if status.service == service), None)

    def is_ready(self, service: str) -> bool:
        status = self.status(service)
        return status is not None and status.state == "ready"

    @contextmanager
    def client(self) -> Iterator[pulsar.Client]:
        settings: dict[str, Any] = {"loop": self.loop_json, "pulsar_url": self.place.url}
        client = connect(ServiceSettings(**settings))
        try:
            yield client
        finally:
            client.close()

    def written(self, topic: str, at_least: int = 0) -> Batch:
        """Return the contents of a topic, once it holds enough."""
        with self.client() as client:
            reader = LogReader(client, topic)
            batch = Batch()

            def read() -> int:
                nonlocal batch
                batch = batch.followed_by(reader.receive(10_000, 200))
                return len(batch)

            until(read, lambda count: count >= at_least)
            while count := len(batch):
                if read() == count:
                    break
            reader.close()
        return batch

    def dead_letters(self, at_least: int) -> list[DeadLetter]:
        return [DeadLetter.FromString(payload) for payload in self.written(self.topics.dead_letters, at_least).payloads]


STREAMS = (stream("clicks"), stream("buys"))


@contextmanager
def ingesting(
    directory: Path,
    place: Place,
    redis_url: str,
    name: str,
    streams: tuple[StreamDefinition, ...] = STREAMS,
    **environment: str,
) -> Iterator[Ingesting]:
    """Run the service of a loop with some streams."""
    loop = LoopDefinition(name, streams, (), (), ())
    loop_json = directory / f"{name}.json"
    loop_json.write_bytes(compiled_loop.encode(loop))
    urls = place.environment | {"HEADRACE_REDIS_URL": redis_url}
    process = _start("ingest", loop_json, urls | environment)
    ingest = Ingesting(loop, loop_json, place, redis_url, process, "")
    try:

        def ready_or_ended() -> ServiceStatus | None:
            status = ingest.status()
            return status if status and status.state == "ready" else None

        ready = until(ready_or_ended, lambda status: status is not None or process.poll() is not None)
        assert ready is not None, loop_json.with_suffix(".ingest.log").read_text()
        ingest.address = ready.address
        yield ingest
    finally:
        _stop(process)


@contextmanager
def deciding(ingest: Ingesting) -> Iterator[None]:
    """Run a feature service beside it, which owns the partitions and decides which events count."""
    process = _start("feature", ingest.loop_json, ingest.place.environment | {"HEADRACE_REDIS_URL": ingest.redis_url})
    try:
        # Callers wait for decisions for a few seconds only, which a busy machine needs to start a process.
        until(lambda: ingest.is_ready("feature"))
        yield
    finally:
        _stop(process)


def _start(service: str, loop_json: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"headrace_{service}", "--loop", str(loop_json)]
    with loop_json.with_suffix(f".{service}.log").open("wb") as log:
        return subprocess.Popen(command, env=os.environ | environment, stderr=log)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    process.wait(scaled(60))
