"""The launcher of the official Apache Pulsar: where it listens, what survives, what dies with which process, tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulsar
import pytest

from headrace.embedded import OfficialBroker, Server, distribution
from headrace.embedded.brokers import Given
from headrace.errors import InvalidRequest
from headrace.runtime.pulsar.admin import Admin
from headrace.runtime.pulsar.connection import connect
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.pulsar.producer import Producer
from headrace.runtime.settings import ServiceSettings
from tests.brokers import remove, skip_or_fail
from tests.deadline import scaled, until
from tests.support.server_probes import answers, listening_on, port_of

pytestmark = pytest.mark.official

TOPIC = "persistent://public/default/kept"
SECRET = b"only for this test, 32 bytes long"
PLUGIN = "org.apache.pulsar.client.impl.auth.AuthenticationToken"


def token(subject: str) -> str:
    """Return a signed token, as `bin/pulsar tokens create` makes them."""

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    parts = ({"alg": "HS256"}, {"sub": subject})
    signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{encoded(hmac.new(SECRET, signed.encode(), hashlib.sha256).digest())}"


GUARDED = {
    "authenticationEnabled": "true",
    "authorizationEnabled": "true",
    "authenticationProviders": "org.apache.pulsar.broker.authentication.AuthenticationProviderToken",
    "tokenSecretKey": f"data:;base64,{base64.b64encode(SECRET).decode()}",
    "superUserRoles": "admin",
    "brokerClientAuthenticationPlugin": PLUGIN,
    "brokerClientAuthenticationParameters": json.dumps({"token": token("admin")}),
}

_PARENT = """
import json, sys, threading
from headrace.embedded import OfficialBroker
with OfficialBroker(sys.argv[1], conf=json.loads(sys.argv[2]), token=sys.argv[3]) as broker:
    print(broker.url, broker.admin_url, broker.pid, flush=True)
    threading.Event().wait()
"""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[OfficialBroker, subprocess.Popen[str], list[str]]]:
    """Yield a broker that requires tokens, started by a separate process; and our own broker on the same data."""
    if lacking := distribution.missing():
        skip_or_fail(f"no official Apache Pulsar from Maven Central here: install {lacking}")
    command = [sys.executable, "-c", _PARENT, str(tmp_path), json.dumps(GUARDED), token("admin")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        words = parent.stdout.readline().split()
        broker = OfficialBroker(tmp_path, conf=GUARDED, token=token("admin"))
        try:
            yield broker, parent, words
        finally:
            parent.kill()
            broker.stop()


def client(url: str, of: str | None, loop: Path) -> pulsar.Client:
    settings: dict[str, Any] = {"loop": loop, "pulsar_url": url, "pulsar_token": of}
    return connect(ServiceSettings(**settings))


def test_it_dies_with_its_parent_and_has_all_that_it_acknowledged_on_the_same_ports(
    guarded: tuple[OfficialBroker, subprocess.Popen[str], list[str]], official: Server | Given, tmp_path: Path
) -> None:
    broker, parent, (url, admin_url, pid) = guarded
    # Another broker runs beside it.
    assert official.url != url
    assert {re.sub(":.*", "", address) for address in listening_on(int(pid))} == {"0100007F"}

    with pytest.raises(InvalidRequest, match=r"refused by the broker at .* \(401\)"):
        Admin(admin_url).clusters()
    stranger = Admin(admin_url, token("stranger"))
    with pytest.raises(InvalidRequest, match=r"\(40[13]\)"):
        stranger.create_topic(TOPIC)
    admin = Admin(admin_url, token("admin"))
    assert admin.create_topic(TOPIC, 2)

    pulsar_client = client(url, token("admin"), tmp_path)
    producer = Producer(pulsar_client, f"{TOPIC}-partition-0")
    for number in range(500):
        producer.send(str(number).encode())
    producer.flush()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not answers(int(url.rpartition(":")[2])))
    broker.start()
    assert (broker.url, broker.admin_url) == (url, admin_url)
    reader = LogReader(pulsar_client, f"{TOPIC}-partition-0")
    found: list[bytes] = []
    until(lambda: found.extend(reader.receive(1_000).payloads) or len(found) >= 500)
    assert found == [str(number).encode() for number in range(500)]
    assert not reader.more()
    assert admin.partitions(TOPIC) == 2
    # It keeps its bookie, which it would lose permanently after every third kill without a repair.
    assert broker.child.output().count("deleted. path: /ledgers/available/") <= 3
    pulsar_client.close()
    pid_now = broker.pid
    broker.stop()
    assert not answers(port_of(broker))
    assert not Path(f"/proc/{pid_now}").exists()
    log = (tmp_path / "logs" / "broker.log").read_text()
    assert "messaging service is ready" in log
    assert token("admin") not in log
    assert (tmp_path / "pulsar" / "standalone.conf").stat().st_mode & 0o077 == 0
    # Files that it unpacks at each start do not pile up.
    assert len(list((tmp_path / "pulsar" / "tmp").glob("*rocksdb*"))) <= 1


def test_up_takes_a_broker_of_yours_and_sets_its_topics_up(
    official: Server | Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.support.up_process import stand_ins, start_up, until_told

    loop = stand_ins(tmp_path, monkeypatch)
    loop.write_text(loop.read_text().replace('id="payment"):', 'id="payment", partitions=3):'))
    namespace = f"public/up-{os.getpid()}"
    monkeypatch.setenv("HEADRACE_NAMESPACE", namespace)
    monkeypatch.setenv("PULSAR_URL", official.url)
    monkeypatch.setenv("PULSAR_ADMIN_URL", str(official.admin_url))
    options = ("--json", "--pulsar", "official", "--workers", "feature=2")
    with start_up(tmp_path, *options) as process:
        addresses = until_told(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(scaled(60)) == 0
    assert (addresses["pulsar"], addresses["pulsar_admin"]) == (official.url, official.admin_url)
    pids = addresses["pids"]
    assert isinstance(pids, dict)
    assert set(pids) == {"store", "ingest-0", "feature-0", "feature-1", "learner-0", "scorer-0"}
    admin = Admin(str(official.admin_url))
    assert admin.partitions(f"persistent://{namespace}/payments-paid") == 3
    assert admin.partitions(f"persistent://{namespace}/payments-fraudulent-features") == 3
    remove(admin, namespace)
