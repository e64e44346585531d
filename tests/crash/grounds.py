"""The environment of runs: one broker, and a proxied link to it for each process."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec
import pulsar

from headrace.definition import LoopDefinition
from headrace.embedded import brokers, container
from headrace.embedded.ports import HOST, PortBook, free_port
from headrace.embedded.servers import Broker, Server
from headrace.errors import Unavailable
from headrace.runtime.pulsar.admin import Admin
from headrace.runtime.pulsar.provisioning import provision
from tests.crash.proxy import Link, Proxy

#: The broker's port inside a container.
CONTAINER_PORT = 6650

#: Number of processes of a run, by service.
WORKERS = {"ingest": 1, "feature": 2, "learner": 2, "scorer": 2}
INSTANCES = tuple(f"{service}-{index}" for service, count in WORKERS.items() for index in range(count))

#: Name of the suite's own connection, which has no link.
_DIRECT = "direct"

Kind = Literal["official", "embedded"]


class Grounds:
    """A broker with links; as a context manager it runs for the block, in which any number of runs take place.

    Parameters
    ----------
    kind
        The official Apache Pulsar; or the embedded broker, which has one partition per topic and whose connections
        bypass the links.

    Raises
    ------
    Unavailable
        This machine has no official Apache Pulsar.
    """

    def __init__(self, directory: Path, kind: Kind = "official") -> None:
        self.kind = kind
        self.proxy = Proxy()
        self.links: dict[str, Link] = {}
        self._directory = directory
        self._runs = itertools.count()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            starting.enter_context(self.proxy)
            self.links = {name: self.proxy.link(f"{name} to broker") for name in INSTANCES}
            self.broker = self._broker()
            starting.enter_context(self.broker)
            self._aim()
            # One client for all reads of the suite: pulsar-client has crashed when one was closed right after use.
            self.client = self._client()
            starting.callback(self.client.close)
            self._running = starting.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._running.close()

    def restart(self) -> None:
        """Restart the broker that was killed."""
        self.broker.start()
        self._aim()

    def _client(self) -> pulsar.Client:
        logger = pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null")
        listener = self.environment().get("HEADRACE_PULSAR_LISTENER")
        return pulsar.Client(self.broker.url, listener_name=listener, logger=logger, operation_timeout_seconds=30)

    def environment(self, name: str = _DIRECT) -> dict[str, str]:
        """Return the settings by which a process finds the broker: through its own link, or directly."""
        if self.kind == "embedded":
            return {"HEADRACE_PULSAR_URL": self.broker.url}
        url = f"pulsar://{HOST}:{self.links[name].port}" if name in self.links else self.broker.url
        return {"HEADRACE_PULSAR_URL": url, "HEADRACE_PULSAR_LISTENER": name}

    def fits(self, loop: LoopDefinition) -> LoopDefinition:
        """Return the loop as this broker can run it."""
        if self.kind == "official":
            return loop
        streams = tuple(msgspec.structs.replace(stream, partitions=1) for stream in loop.streams)
        return msgspec.structs.replace(loop, streams=streams)

    def namespace(self, loop: LoopDefinition) -> str:
        """Create a namespace with the loop's topics; their contents are kept."""
        run = next(self._runs)
        if self.kind == "embedded":
            return f"public/crash-{run}"
        assert self.broker.admin_url is not None
        admin, name = Admin(self.broker.admin_url), f"public/crash-{run}"
        provision(admin, loop, name)
        admin.close()
        return name

    def _broker(self) -> Server:
        if self.kind == "embedded":
            return Broker(self._directory)
        # The advertised address must be known in advance: the broker first tries the port that it had last time.
        port = free_port()
        PortBook(self._directory / "ports").note("broker", port)
        # Each link is a listener of its own, so that the addresses a process looks up lead through its link.
        listeners, listener = {_DIRECT: port, **{name: link.port for name, link in self.links.items()}}, _DIRECT
        if container.engine_answers():
            listeners["inside"], listener = CONTAINER_PORT, "inside"
        conf = {
            "advertisedAddress": "",
            "advertisedListeners": ",".join(f"{name}:pulsar://{HOST}:{port}" for name, port in listeners.items()),
            "internalListenerName": listener,
        }
        server = brokers.official(self._directory, conf=conf, say=lambda text: None)
        if server is None:
            raise Unavailable(f"no official Apache Pulsar here: {brokers.how_to_get_one()}")
        return server

    def _aim(self) -> None:
        port = int(self.broker.url.rpartition(":")[2])
        for link in self.links.values():
            link.target = port
