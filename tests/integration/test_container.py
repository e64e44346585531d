"""The official Apache Pulsar in a container: its addresses, the owner of its files, and the remains of a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pulsar
import pytest

from headrace.embedded import container
from headrace.embedded.container import ContainerBroker
from headrace.errors import Unavailable
from headrace.runtime.pulsar.admin import Admin
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.pulsar.producer import Producer
from tests.deadline import until

pytestmark = pytest.mark.engine

TOPIC = "persistent://public/default/kept"
COUNT = 1_000

_PARENT = """
import sys, threading
from headrace.embedded.container import ContainerBroker
with ContainerBroker(sys.argv[1]) as broker:
    print(broker.url, broker.admin_url, flush=True)
    threading.Event().wait()
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Yield a process that has started a broker on `tmp_path`, and the addresses of that broker."""
    assert container.engine_answers(), "no Docker engine answers here"
    with subprocess.Popen([sys.executable, "-c", _PARENT, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().split()
        finally:
            process.kill()


def read(client: pulsar.Client) -> list[bytes]:
    reader, found = LogReader(client, TOPIC), list[bytes]()
    until(lambda: found.extend(reader.receive(COUNT).payloads) or len(found) >= COUNT)
    assert not reader.more()
    reader.close()
    return found


def test_what_it_acknowledged_outlives_it_and_the_process_that_started_it(
    parent: tuple[subprocess.Popen[str], list[str]], tmp_path: Path
) -> None:
    process, addresses = parent
    # Each is reachable from this machine only.
    assert [address.rpartition(":")[0] for address in addresses] == ["pulsar://127.0.0.1", "http://127.0.0.1"]
    broker = ContainerBroker(tmp_path)
    with pytest.raises(Unavailable, match="in use by another process"):
        broker.start()
    client = pulsar.Client(addresses[0], logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
    producer, sent = Producer(client, TOPIC), [str(number).encode() for number in range(COUNT)]
    for payload in sent:
        producer.send(payload)
    producer.flush()

    process.send_signal(signal.SIGKILL)
    process.wait()
    # If no reaper runs, the old container still runs, and is removed first.
    with broker:
        assert [broker.url, broker.admin_url] == addresses
        assert read(client) == sent
        owners = {path.lstat().st_uid for path in (tmp_path / "pulsar").rglob("*")}
        assert owners == {os.getuid()}

        broker.kill()
        with pytest.raises(Unavailable, match="not running"):
            _ = broker.pid
        broker.start()
        assert [broker.url, broker.admin_url] == addresses
        assert Path(f"/proc/{broker.pid}").exists()
        assert read(client) == sent
    client.close()
    with pytest.raises(Unavailable, match="not running"):
        _ = broker.pid
    admin = Admin(addresses[1])
    assert not admin.healthy()
    admin.close()
