"""The feature service with real servers, when the servers or the service go away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from headrace import compiler, embedded
from headrace.engine.kernel.partition import PartitionId
from headrace.runtime.redis.partitions import Durability, PartitionStore
from headrace.runtime.redis.status import StatusBoard
from headrace.wire import compiled_loop
from tests.brokers import Runs
from tests.deadline import scaled, until
from tests.support.shop import LOOP, Shop


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


@pytest.mark.parametrize("shop", ["1h"], indirect=True)
def test_an_end_taken_over_by_a_worker_that_dies_stops_nobody(shop: Shop) -> None:
    """Everything is acknowledged, so the broker gives nobody a message that would make it the owner."""
    shop.send("sold", [0])
    shop.end("sold")
    shop.send("asked", [5])
    assert shop.vectors(1) == {"5": 1.0}
    with redis.Redis.from_url(shop.running.redis_url) as store:
        Durability(store, shop.running.definition.name).wait()
        threading.Event().wait(2)  # acknowledgements follow at intervals, and nothing shows them
        PartitionStore(store, shop.running.definition.name).take_over(PartitionId("sold", 0))
    shop.send("asked", [15])
    assert shop.vectors(2) == {"5": 1.0, "15": 1.0}


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
