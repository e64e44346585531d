"""The source of an official broker, and how its distribution is obtained: with fake programs."""

from __future__ import annotations

import os
import sys
import tarfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from docker.errors import DockerException, NotFound

from headrace.embedded import Servers, brokers, container, distribution
from headrace.embedded.brokers import Given
from headrace.embedded.container import ContainerBroker
from headrace.embedded.official import OfficialBroker
from headrace.embedded.servers import Broker
from headrace.errors import InvalidRequest, Unavailable

JAVA = """#!/bin/sh
echo 'openjdk version "{version}" 2025-04-15' >&2
"""
# Copies the tarball to the requested folder, and counts its calls.
MAVEN = """#!/bin/sh
echo called >> {folder}/calls
for word; do case $word in -DoutputDirectory=*) out=${{word#-DoutputDirectory=}};; esac; done
test -f {folder}/pulsar.tar.gz || {{ echo '[ERROR] no route to the repository'; exit 1; }}
/bin/cp {folder}/pulsar.tar.gz $out/
"""


def program(folder: Path, name: str, text: str) -> None:
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an isolated machine: nothing installed, no engine, an empty cache."""
    (tmp_path / "bin").mkdir()
    for name in ("JAVA_HOME", "PULSAR_URL", "PULSAR_ADMIN_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(container, "engine_answers", lambda: False)
    return tmp_path


def install(machine: Path, java: str = "17.0.15") -> None:
    program(machine, "java", JAVA.format(version=java))
    program(machine, "mvn", MAVEN.format(folder=machine))


def publish(machine: Path) -> None:
    tree = machine / "apache-pulsar-4.0.8" / "conf"
    tree.mkdir(parents=True)
    (tree / "standalone.conf").write_text("brokerServicePort=6650\n")
    with tarfile.open(machine / "pulsar.tar.gz", "w:gz") as packed:
        packed.add(tree.parent, arcname="apache-pulsar-4.0.8")


def test_the_distribution_is_got_once_whoever_asks(machine: Path) -> None:
    install(machine)
    publish(machine)
    lines: list[str] = []
    homes: list[Path] = []
    asking = [threading.Thread(target=lambda: homes.append(distribution.home(lines.append))) for _ in range(4)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len(set(homes)) == 1
    assert (homes[0] / "conf" / "standalone.conf").exists()
    assert (machine / "calls").read_text() == "called\n"
    assert [line for line in lines if "once (245 MB)" in line] == lines[:1]
    assert [path.name for path in homes[0].parent.iterdir() if path.name.startswith("unpacking")] == []


def test_what_maven_cannot_get_leaves_nothing_behind_and_is_tried_again(machine: Path) -> None:
    install(machine)
    with pytest.raises(Unavailable, match=r"Maven cannot get .*no route to the repository"):
        distribution.home(lambda text: None)
    publish(machine)
    assert distribution.home(lambda text: None).is_dir()


@pytest.mark.parametrize("java", ["1.8.0_292", "11.0.2", "16-ea"])
def test_an_old_java_is_none(machine: Path, java: str) -> None:
    install(machine, java)
    assert "a JRE of 17 or newer" in distribution.missing()
    assert "mvn" not in distribution.missing()


def test_maven_is_needed_only_to_get_it(machine: Path) -> None:
    install(machine)
    publish(machine)
    distribution.home(lambda text: None)
    (machine / "bin" / "mvn").unlink()
    assert distribution.missing() == ""


def test_the_first_source_that_there_is(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert brokers.official(machine, say=print) is None
    assert "install a JRE of 17 or newer (`java`) and Apache Maven (`mvn`)" in brokers.how_to_get_one()
    install(machine)
    assert isinstance(brokers.official(machine, say=print), OfficialBroker)
    monkeypatch.setattr(container, "engine_answers", lambda: True)
    assert isinstance(brokers.official(machine, say=print), ContainerBroker)
    assert brokers.given() is None
    monkeypatch.setenv("PULSAR_URL", "pulsar://broker:6650")
    assert brokers.given() == Given("pulsar://broker:6650", "http://broker:8080")
    monkeypatch.setenv("PULSAR_ADMIN_URL", "http://admin:1")
    assert brokers.given() == Given("pulsar://broker:6650", "http://admin:1")
    assert Servers(machine, pulsar="official").admin_url == "http://admin:1"


def test_without_any_the_small_one_is_used_and_it_is_said(machine: Path) -> None:
    lines: list[str] = []
    servers = Servers(machine, pulsar="official", say=lines.append)
    assert isinstance(servers.broker, Broker)
    assert (servers.has_partitions, servers.admin_url) == (False, None)
    assert len(lines) == 1
    assert "no official Apache Pulsar here, using the small one: install a JRE" in lines[0]


class FakeContainer:
    """A stand-in for testcontainers' container, and for the docker container and client inside it."""

    #: Names of containers that a killed process left behind.
    left: ClassVar[set[str]] = set()

    def __init__(self, image: str) -> None:
        self.image = image
        self.environment: dict[str, str] = {}
        self.name = ""
        self.calls: list[object] = []
        self.ports: dict[str, tuple[str, int]] = {}
        self.options: dict[str, str] = {}
        self.volumes: dict[str, str] = {}
        self.said = ""
        self.status = "running"
        self.attrs = {"State": {"Pid": 4711}}

    def get_docker_client(self) -> SimpleNamespace:
        return SimpleNamespace(client=SimpleNamespace(containers=self))

    def get(self, name: str) -> FakeContainer:
        if name not in self.left:
            raise NotFound(name)
        return self

    def remove(self, force: bool) -> None:
        self.left.clear()

    def with_name(self, name: str) -> FakeContainer:
        self.name = name
        return self

    def with_command(self, command: str) -> FakeContainer:
        self.said = command
        return self

    def with_volume_mapping(self, host: str, inside: str, mode: str) -> FakeContainer:
        self.volumes[inside] = host
        return self

    def with_kwargs(self, **options: str) -> FakeContainer:
        self.options |= options
        return self

    def with_env(self, name: str, value: str) -> FakeContainer:
        self.environment[name] = value
        return self

    def get_wrapped_container(self) -> FakeContainer:
        return self

    def start(self) -> None:
        self.calls.append("start")

    def stop(self, timeout: int | None = None) -> None:
        self.calls.append("remove" if timeout is None else "stop")

    def reload(self) -> None:
        pass

    def logs(self, tail: int, since: float | None) -> bytes:
        return b"no space left\n"


def test_a_container_is_made_with_the_same_tuning_and_keeps_its_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.runtime.pulsar.admin.Admin.healthy", lambda self: True)
    containers: list[FakeContainer] = []

    def make(image: str) -> FakeContainer:
        containers.append(FakeContainer(image))
        return containers[-1]

    broker = ContainerBroker(tmp_path, conf={"defaultNumPartitions": "2"}, make=make)
    broker.start()
    [container] = containers
    assert container.image == "apachepulsar/pulsar:4.0.8"
    assert container.volumes == {"/data": str(tmp_path / "pulsar")}
    assert container.options == {"user": f"{os.getuid()}:0"}
    assert container.environment["PULSAR_PREFIX_managedLedgerNewEntriesCheckDelayInMillis"] == "0"
    assert container.environment["PULSAR_PREFIX_defaultNumPartitions"] == "2"
    assert container.environment["PULSAR_GC"] == "-XX:+UseSerialGC"
    assert "--bookkeeper-dir /data/bookkeeper" in container.said
    assert container.ports == {
        "6650": ("127.0.0.1", int(broker.url.rpartition(":")[2])),
        "8080": ("127.0.0.1", int(broker.admin_url.rpartition(":")[2])),
    }
    assert broker.pid == 4711
    with pytest.raises(Unavailable, match="in use by another process"):
        ContainerBroker(tmp_path, make=make).start()
    broker.kill()
    assert container.calls == ["start", "remove"]
    with pytest.raises(Unavailable, match="not running"):
        broker.kill()
    broker.start()
    assert (containers[-1].ports, containers[-1].name) == (container.ports, container.name)
    containers[-1].attrs["State"]["Pid"] = 0
    with pytest.raises(Unavailable, match="has ended"):
        _ = broker.pid
    broker.stop()
    broker.stop()
    assert containers[-1].calls == ["start", "stop", "remove"]


def test_a_container_that_a_killed_process_left_is_removed_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.runtime.pulsar.admin.Admin.healthy", lambda self: True)
    containers: list[FakeContainer] = []

    def make(image: str) -> FakeContainer:
        containers.append(FakeContainer(image))
        return containers[-1]

    with ContainerBroker(tmp_path, make=make):
        pass
    FakeContainer.left.add(containers[0].name)
    with ContainerBroker(tmp_path, make=make):
        assert not FakeContainer.left


def test_what_the_engine_refuses_is_told(tmp_path: Path) -> None:
    class Refused(FakeContainer):
        def start(self) -> None:
            raise DockerException("port is already allocated")

    broker = ContainerBroker(tmp_path, make=Refused)
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"no container of apachepulsar/pulsar:4.0.8 here: port is already"):
            broker.start()


def test_a_container_that_ends_at_once_is_told(tmp_path: Path) -> None:
    class Ended(FakeContainer):
        status = "exited"

        def __init__(self, image: str) -> None:
            super().__init__(image)
            self.status = "exited"

    with pytest.raises(Unavailable, match="ended before it was ready: no space left"):
        ContainerBroker(tmp_path, make=Ended).start()


BOOKIE_GONE = "INFO PulsarRegistrationClient - Bookie 127.0.0.1:1 deleted. path: /ledgers/available/127.0.0.1:1\n"

# After a kill it loses its bookie until it has been stopped cleanly; then it answers every request.
PULSAR = """#!{python}
import http.server, os, pathlib, signal, sys
stopped = pathlib.Path("{folder}/stopped")
signal.signal(signal.SIGTERM, lambda *_: (stopped.touch(), os._exit(0)))
print("start", file=open("{folder}/starts", "a"))
if not stopped.exists():
    sys.stdout.write({gone!r} * 10)
    sys.stdout.flush()
    signal.pause()
print("messaging service is ready", flush=True)
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
conf = dict(line.strip().split("=", 1) for line in open(os.environ["PULSAR_STANDALONE_CONF"]) if "=" in line)
http.server.HTTPServer(("127.0.0.1", int(conf["webServicePort"])), Healthy).serve_forever()
"""


def test_a_broker_that_loses_its_bookie_is_stopped_and_started_again(machine: Path) -> None:
    install(machine)
    publish(machine)
    text = PULSAR.format(python=sys.executable, folder=machine, gone=BOOKIE_GONE)
    program(distribution.home(lambda text: None), "pulsar", text)
    with OfficialBroker(machine):
        assert (machine / "starts").read_text() == "start\n" * 2


def test_a_container_whose_broker_loses_its_bookie_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Losing(FakeContainer):
        def logs(self, tail: int, since: float | None) -> bytes:
            return (BOOKIE_GONE * 10).encode() if since is None else b""

    containers: list[FakeContainer] = []

    def make(image: str) -> FakeContainer:
        containers.append(Losing(image))
        return containers[-1]

    monkeypatch.setattr(
        "headrace.runtime.pulsar.admin.Admin.healthy", lambda self: containers[0].calls.count("start") > 1
    )
    broker = ContainerBroker(tmp_path, make=make)
    broker.start()
    assert containers[0].calls == ["start", "stop", "start"]
    broker.stop()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"pulsar": "nonsense"}, "the broker's URL is 'nonsense', expected one such as pulsar://broker:6650"),
        ({"pulsar": "broker:6650"}, "the broker's URL is 'broker:6650'"),
        ({"pulsar": "pulsar://broker:port"}, "the broker's URL is 'pulsar://broker:port'"),
        ({"redis": "store"}, "the store's URL is 'store', expected one such as redis://store:6379/0"),
    ],
)
def test_what_is_no_url_is_told(given: dict[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=told), Servers(tmp_path, **given):  # type: ignore[arg-type]
        pass
