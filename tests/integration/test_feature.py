"""The feature service with real servers, when the servers or the service go away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pulsar
import pytest
import redis

from headrace import compiler, embedded
from headrace.embedded import Server
from headrace.errors import Unavailable
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.redis.status import StatusBoard
from headrace.wire import compiled_loop
from headrace.wire.deduplication import Accepted
from headrace.wire.tables import decode_vectors
from headrace.wire.topics import END, Topics
from tests.brokers import Runs
from tests.deadline import scaled, until

START = 1_700_000_000_000_000
SECOND = 1_000_000
LOOP = """
from datetime import datetime
from river.linear_model import LogisticRegression
from headrace import Count, Label, Loop, Model, Stream, View

Loop("shop", idle="3s")

class Asked(Stream, key="shop", time="at", id="id"):
    id: str
    at: datetime
    shop: str

class Sold(Stream, key="shop", time="at", id="id"):
    id: str
    at: datetime
    shop: str
    late: bool

sales = View(Sold, by="shop", windows=["1h"], aggregates={"count": Count()})
Model(
    "m", on=Asked, label=Label(Sold, of=Asked, value=Sold.late, within="1h", name="late"), features=[sales],
    learner=lambda: LogisticRegression(),
)
"""


class Shop:
    """A running loop, accessed through the log alone."""

    def __init__(self, running: embedded.RunningLoop, broker: Server) -> None:
        self.running = running
        self.broker = broker
        self.topics = Topics(running.definition.name, running.namespace)
        self.client = pulsar.Client(running.pulsar_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))

    def send(self, stream: str, at: Sequence[int]) -> None:
        producer = self.client.create_producer(self.topics.stream(stream), batching_enabled=False)
        for second in at:
            event = {"id": f"{second}", "at": START + second * SECOND, "shop": "s", "late": True}
            if stream == "asked":
                del event["late"]
            producer.send(msgspec.json.encode(event), partition_key="s")
        producer.close()

    def end(self, *streams: str) -> None:
        for stream in streams:
            producer = self.client.create_producer(self.topics.stream(stream))
            producer.send(b"", properties={END: "1"})
            producer.close()

    def vectors(self, size: int) -> dict[str, float]:
        """Return the count of sales in each vector, once there are enough vectors."""
        model = self.running.definition.model("m")

        def read() -> dict[str, float]:
            reader, accepted, found = LogReader(self.client, self.topics.features("m")), Accepted(), {}
            batch = reader.receive(1_000, timeout_ms=300)
            reader.close()
            for payload, properties in zip(batch.payloads, batch.properties, strict=True):
                epoch = int(properties["epoch"])
                if accepted.mark(epoch) and payload:
                    vectors = decode_vectors(model, payload)
                    for row in accepted.take(epoch, vectors.positions):
                        found[vectors.ids[row]] = float(vectors.numbers[row, 0])
            return found

        # After an outage, the client's next attempt may be as far away as the outage was long.
        return until(read, lambda found: len(found) >= size, seconds=150)

    def events(self, size: int) -> None:
        """Wait until enough events are folded."""

        def folded() -> int:
            try:
                return sum(
                    status.counters.get("events", 0) for status in self.running.status() if status.service == "feature"
                )
            except Unavailable:
                return 0

        until(folded, lambda found: found >= size, seconds=60)


@pytest.fixture
def shop(request: pytest.FixtureRequest, tmp_path: Path, runs: Runs) -> Iterator[Shop]:
    file = tmp_path / "loop.py"
    file.write_text(LOOP.replace("3s", getattr(request, "param", "3s")))
    with embedded.run(file, data=tmp_path / "data", **runs.options) as running:
        shop = Shop(running, runs.broker(running))
        yield shop
        shop.client.close()


def test_a_restart_soon_after_the_last_event_of_a_quiet_stream_stops_nobody(shop: Shop) -> None:
    shop.send("sold", [0])
    shop.send("asked", [0])
    shop.events(2)
    os.kill(shop.running.pids["feature-0"], signal.SIGTERM)
    shop.send("asked", [5])
    assert shop.vectors(2) == {"0": 0.0, "5": 1.0}


@pytest.mark.parametrize("shop", ["1h"], indirect=True)
def test_a_restart_after_the_end_of_a_history_waits_for_no_idle_time(shop: Shop) -> None:
    shop.send("sold", [0])
    shop.end("sold")
    shop.send("asked", [5])
    assert shop.vectors(1) == {"5": 1.0}
    os.kill(shop.running.pids["feature-0"], signal.SIGTERM)
    shop.send("asked", [15, 25])
    assert shop.vectors(3) == {"5": 1.0, "15": 1.0, "25": 1.0}


def test_a_broker_and_a_store_that_go_away_for_a_while_change_no_vector(shop: Shop) -> None:
    store = shop.running.servers.store
    assert store is not None
    shop.send("sold", [0, 10])
    shop.send("asked", [5, 15])
    shop.broker.kill()
    threading.Event().wait(5)  # longer than the idle time, but no broker confirms that the streams are silent
    shop.broker.start()
    shop.send("asked", [25, 35])
    shop.send("sold", [20, 30])
    store.kill()
    shop.send("asked", [45])
    threading.Event().wait(2)
    store.start()
    shop.send("sold", [40])
    shop.end("asked", "sold")
    assert shop.vectors(5) == {"5": 1.0, "15": 2.0, "25": 3.0, "35": 4.0, "45": 5.0}


_REPORTING = """
import sys
from headrace.errors import Unavailable
sys.argv = ["headrace-feature"]
from headrace_feature import __main__
from headrace_feature.pulsar.feature_lanes import FeatureLanes
report, errors = FeatureLanes.report, [{error}]
def failing_at_first(self, status):
    if errors:
        raise errors.pop()
    report(self, status)
FeatureLanes.report = failing_at_first
__main__.main()
"""


@pytest.mark.parametrize("error", ['Unavailable("store")', 'RuntimeError("a fault")'])
def test_what_fails_at_the_start_is_got_over_or_ends_the_process(error: str, tmp_path: Path) -> None:
    """Check that the process does not keep running without doing anything."""
    (tmp_path / "loop.py").write_text(LOOP)
    loop = compiler.load(tmp_path / "loop.py").definition
    (tmp_path / "loop.json").write_bytes(compiled_loop.encode(loop))
    with (
        embedded.broker(tmp_path) as broker,
        embedded.store(tmp_path) as store,
        redis.Redis.from_url(store.url) as client,
    ):
        environment = {
            "HEADRACE_PULSAR_URL": broker.url,
            "HEADRACE_REDIS_URL": store.url,
            "HEADRACE_LOOP": str(tmp_path / "loop.json"),
        }
        with subprocess.Popen(
            [sys.executable, "-c", _REPORTING.format(error=error)], env={**os.environ, **environment}
        ) as process:
            try:
                if "Unavailable" in error:
                    until(
                        lambda: [status.state for status in StatusBoard(client, loop.name).read()] == ["ready"],
                        seconds=60,
                    )
                    process.send_signal(signal.SIGTERM)
                    assert process.wait(scaled(60)) == 0
                else:
                    assert process.wait(scaled(60)) == 1
            finally:
                process.kill()
