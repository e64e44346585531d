"""The official Apache Pulsar in a container, if a Docker engine answers."""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from headrace.embedded.distribution import VERSION
from headrace.embedded.locks import DirectoryLock
from headrace.embedded.official import JVM, STARTS, TUNING, loses_its_bookie
from headrace.embedded.ports import HOST, PortBook, free_port
from headrace.embedded.servers import Server
from headrace.errors import Unavailable
from headrace.runtime.pulsar.admin import Admin

IMAGE = f"apachepulsar/pulsar:{VERSION}"

_READY_S = 180.0
_POLL_S = 0.2
_STOP_S = 10
_PORT, _ADMIN_PORT = 6650, 8080
_DATA = "/data"
_SOCKET = Path("/var/run/docker.sock")
_COMMAND = (
    "sh -c 'bin/apply-config-from-env.py conf/standalone.conf && exec bin/pulsar standalone -nfw -nss "
    f"--metadata-dir {_DATA}/metadata --bookkeeper-dir {_DATA}/bookkeeper'"
)


def engine_answers() -> bool:
    """Return whether containers can run here: a Docker engine is up, and testcontainers is installed."""
    if importlib.util.find_spec("testcontainers") is None:
        return False
    if "DOCKER_HOST" not in os.environ and not _SOCKET.exists():
        return False
    import docker

    try:
        client = docker.from_env(timeout=5)
    except docker.errors.DockerException:
        return False
    try:
        return bool(client.ping())
    except (docker.errors.DockerException, OSError):
        return False
    finally:
        client.close()


class ContainerBroker(Server):
    """Apache Pulsar's own standalone broker in a container, which testcontainers removes when this process ends.

    Its data is in `data`, not in the container. If testcontainers' reaper cannot run (set
    ``TESTCONTAINERS_RYUK_DISABLED=true`` then), a container outlives a killed process until the next start on its data.

    Parameters
    ----------
    data
        The directory of a loop's state: the broker has its own directory inside.
    conf
        Further settings of its configuration file.
    token
        The token for its admin API, if `conf` turns authentication on.
    make
        Makes a container from an image; by default testcontainers' class.
    """

    name = "broker"

    def __init__(
        self,
        data: Path | str,
        *,
        conf: Mapping[str, str] | None = None,
        token: str | None = None,
        make: Any = None,
        ready_s: float = _READY_S,
    ) -> None:
        root = Path(data).absolute()
        self.directory = root / "pulsar"
        self._ports = PortBook(root / "ports")
        self._conf = dict(conf or {})
        self._token = token
        self._make = make
        self._ready_s = ready_s
        self._lock: DirectoryLock | None = None
        self._container: Any = None
        self._port = self._admin_port = 0
        self._since: float | None = None

    @property
    def url(self) -> str:
        return f"pulsar://{HOST}:{self._port}"

    @property
    def admin_url(self) -> str:
        return f"http://{HOST}:{self._admin_port}"

    @property
    def pid(self) -> int:
        container = self._docker_container()
        with _engine():
            container.reload()
        pid = int(container.attrs["State"]["Pid"])
        if not pid:
            raise Unavailable(f"the container of the embedded {self.name} has ended")
        return pid

    def start(self) -> None:
        """As in `Server`; after a kill it may take two starts (see `loses_its_bookie`)."""
        self._lock = DirectoryLock(self.directory / "lock")
        try:
            with _engine():
                self._create()
                self._wait()
        except BaseException:
            self._remove()
            raise
        self._ports.note("broker", self._port)
        self._ports.note("broker-admin", self._admin_port)

    @property
    def has_ended(self) -> bool:
        if self._container is None:
            return False
        try:
            return self.pid == 0
        except Unavailable:
            return True

    def restart(self) -> None:
        self._remove()
        self.start()

    def stop(self) -> None:
        if self._container is not None:
            with suppress(Unavailable), _engine():
                self._docker_container().stop(timeout=_STOP_S)
            self._remove()

    def kill(self) -> None:
        """As in `Server`; the container is removed with its process, and `start` makes another for the same data."""
        self._docker_container()
        self._remove()

    def _remove(self) -> None:
        if self._container is not None:
            with suppress(Unavailable), _engine():
                self._container.stop()  # by force, as testcontainers does
            self._container = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _create(self) -> None:
        make = self._make
        if make is None:
            from testcontainers.core.container import DockerContainer

            make = DockerContainer
        container = make(IMAGE)
        name = f"headrace-{self.name}-{sha256(str(self.directory.resolve()).encode()).hexdigest()[:12]}"
        _remove_leftover(container.get_docker_client().client, name)
        self._port = self._ports.last("broker") or free_port()
        self._admin_port = self._ports.last("broker-admin") or free_port()
        container = container.with_name(name).with_command(_COMMAND)
        container = container.with_volume_mapping(str(self.directory), _DATA, "rw")
        # The image runs as any user of group 0: run it as ours, so that its files belong to us.
        container = container.with_kwargs(user=f"{os.getuid()}:0")
        for variable, value in JVM.items():
            container = container.with_env(variable, value)
        for setting, value in ({"advertisedAddress": HOST} | TUNING | self._conf).items():
            container = container.with_env(f"PULSAR_PREFIX_{setting}", value)
        # `with_bind_ports` takes no address.
        container.ports = {str(_PORT): (HOST, self._port), str(_ADMIN_PORT): (HOST, self._admin_port)}
        self._container = container
        self._since = None
        container.start()

    def _docker_container(self) -> Any:
        """Return the container object of the Docker SDK."""
        if self._container is None:
            raise Unavailable(f"the embedded {self.name} is not running")
        return self._container.get_wrapped_container()

    def _output(self, lines: int = 200) -> str:
        """Return the last lines that the broker has written since its start."""
        output: bytes = self._docker_container().logs(tail=lines, since=self._since)
        return output.decode(errors="replace")

    def _wait(self) -> None:
        admin = Admin(self.admin_url, self._token)
        deadline = time.monotonic() + self._ready_s
        pause = threading.Event()
        starts = 1
        while not admin.healthy():
            container = self._docker_container()
            container.reload()
            if starts < STARTS and loses_its_bookie(self._output()):
                container.stop(timeout=_STOP_S)
                self._since = time.time()  # the logs' resolution is a second: earlier lines would be counted again
                container.start()
                starts += 1
                continue
            if container.status == "exited":
                raise Unavailable(f"the container of {IMAGE} ended before it was ready: {self._output(1).strip()}")
            if time.monotonic() > deadline:
                raise Unavailable(f"the container of {IMAGE} was not ready after {self._ready_s:g} s")
            pause.wait(_POLL_S)


@contextmanager
def _engine() -> Iterator[None]:
    """Convert errors of the Docker engine to `Unavailable`."""
    from docker.errors import DockerException

    try:
        yield
    # The HTTP client raises subclasses of OSError, testcontainers those of RuntimeError.
    except (DockerException, OSError, RuntimeError) as error:
        raise Unavailable(f"no container of {IMAGE} here: {error}") from error


def _remove_leftover(client: Any, name: str) -> None:
    """Remove the container that a killed process left behind for the same data, if there is one."""
    from docker.errors import NotFound

    with suppress(NotFound):
        client.containers.get(name).remove(force=True)
