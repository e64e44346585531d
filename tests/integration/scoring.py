"""A scorer process between a broker and a store, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pulsar
import redis

from headrace.embedded import Store
from headrace.runtime.redis.status import ServiceStatus, StatusBoard
from headrace.v1 import models_pb2, scoring_pb2_grpc
from headrace.wire import compiled_loop
from tests.brokers import Place
from tests.deadline import scaled, until
from tests.headers import header
from tests.unit.scorer.support import LOOP, history


class Running:
    """A scorer process and the servers that it uses."""

    def __init__(self, place: Place, store: Store, process: subprocess.Popen[bytes], instance: str) -> None:
        self.place = place
        self.topics = place.topics(LOOP.name)
        self.store = store
        self.process = process
        self._instance = instance
        self._board = StatusBoard(redis.Redis.from_url(store.url), LOOP.name)
        self.address = until(lambda: self.status and self.status.address)
        self.channel = grpc.insecure_channel(self.address)
        self.scoring = scoring_pb2_grpc.ScoringServiceStub(self.channel)  # type: ignore[no-untyped-call]

    @property
    def status(self) -> ServiceStatus | None:
        """The status that it reports."""
        found = [status for status in self._board.read() if status.instance == self._instance]
        return found[0] if found else None

    def counter(self, name: str) -> int:
        """Return one of its counters."""
        status = self.status
        return status.counters.get(name, 0) if status else 0

    def publish(self, *versions: models_pb2.ModelVersion) -> None:
        """Put versions on the models topic, and wait until the last of each model answers."""
        self.send(self.topics.models, [(version.SerializeToString(), {}) for version in versions])
        wanted = {version.model: version.examples for version in versions}
        until(lambda: self.status and wanted.items() <= self.status.versions.items())

    @contextmanager
    def client(self) -> Iterator[pulsar.Client]:
        """Yield a client of the broker."""
        quiet = pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null")
        client = pulsar.Client(self.place.url, logger=quiet)
        try:
            yield client
        finally:
            client.close()

    def send(self, topic: str, messages: Sequence[tuple[bytes, dict[str, Any]]]) -> None:
        """Send messages to a topic, one after another."""
        with self.client() as client:
            producer = client.create_producer(topic)
            for payload, fields in messages:
                producer.send(payload, properties=header(payload, **fields))

    def read(self, topic: str, enough: Callable[[list[pulsar.Message]], bool]) -> list[pulsar.Message]:
        """Return a topic's messages from its start, once there are enough of them."""
        found: list[pulsar.Message] = []
        with self.client() as client:
            reader = client.create_reader(topic, pulsar.MessageId.earliest)

            def more() -> bool:
                try:
                    found.append(reader.read_next(timeout_millis=100))
                except pulsar.Timeout:
                    return False
                return enough(found)

            until(more)
            reader.close()
        return found


@contextmanager
def running(directory: Path, place: Place, store: Store, **environment: str) -> Iterator[Running]:
    """Run a scorer of the loop over rows of its history."""
    loop = directory / "loop.json"
    # The embedded broker has no partitions, and the official one creates plain topics by itself.
    streams = tuple(msgspec.structs.replace(stream, partitions=1) for stream in LOOP.streams)
    loop.write_bytes(compiled_loop.encode(msgspec.structs.replace(LOOP, streams=streams)))
    rows = redis.Redis.from_url(store.url)
    for key, fields in history(partitions=1).items():
        rows.hset(key, mapping=fields)  # type: ignore[arg-type]
    rows.close()
    instance = f"scorer-{time.monotonic_ns()}"
    settings = {
        **place.environment,
        "HEADRACE_REDIS_URL": store.url,
        "HEADRACE_INSTANCE": instance,
        "HEADRACE_DATA": str(directory / instance),
        **environment,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "headrace_scorer", "--loop", str(loop)], env={**os.environ, **settings}
    )
    try:
        yield Running(place, store, process, instance)
    finally:
        process.terminate()
        try:
            process.wait(scaled(20))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
