"""Where runs take place: one broker, and a proxied link to it for each process."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec
import pulsar

from headrace.definition import LoopDefinition
from headrace.embedded.official import OfficialBroker
from headrace.embedded.servers import Broker
from headrace.log.admin import Admin
from headrace.log.provisioning import provision
from tests.crash.proxy import HOST, Link, Proxy

#: The processes of a run, by service.
WORKERS = {"ingest": 1, "feature": 2, "learner": 2, "scorer": 2}
INSTANCES = tuple(f"{service}-{index}" for service, count in WORKERS.items() for index in range(count))

Kind = Literal["official", "embedded"]


class Grounds:
    """A broker with links; as a context manager it runs for the block, in which any number of runs take place.

    Parameters
    ----------
    kind
        The official Apache Pulsar; or the embedded broker, which has one partition a topic and whose connections
        go around the links.
    """

    def __init__(self, directory: Path, kind: Kind = "official") -> None:
        self.kind = kind
        self.proxy = Proxy()
        self.links: dict[str, Link] = {}
        self._directory = directory
        self._runs = itertools.count()

    def __enter__(self) -> Self:
        self.proxy.__enter__()
        self.links = {instance: self.proxy.link(f"{instance} to broker") for instance in INSTANCES}
        self.broker = self._broker()
        self.broker.start()
        self._aim()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.broker.stop()
        self.proxy.__exit__(kind, error, at)

    def restart(self) -> None:
        """Start the broker that was killed."""
        self.broker.start()
        self._aim()

    def client(self) -> pulsar.Client:
        """A client that goes around the links."""
        listener = "internal" if self.kind == "official" else None
        logger = pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null")
        return pulsar.Client(self.broker.url, listener_name=listener, logger=logger, operation_timeout_seconds=30)

    def environment(self, instance: str | None) -> dict[str, str]:
        """How a process finds the broker: through its link, or directly."""
        if self.kind == "embedded":
            return {}
        if instance is None:
            return {"HEADRACE_PULSAR_URL": self.broker.url, "HEADRACE_PULSAR_LISTENER": "internal"}
        port = self.links[instance].port
        return {"HEADRACE_PULSAR_URL": f"pulsar://{HOST}:{port}", "HEADRACE_PULSAR_LISTENER": instance}

    def fits(self, loop: LoopDefinition) -> LoopDefinition:
        """The loop as this broker can run it."""
        if self.kind == "official":
            return loop
        streams = tuple(msgspec.structs.replace(stream, partitions=1) for stream in loop.streams)
        return msgspec.structs.replace(loop, streams=streams)

    def namespace(self, loop: LoopDefinition) -> str:
        """A new namespace with the loop's topics; what they hold stays."""
        run = next(self._runs)
        if self.kind == "embedded":
            return f"public/crash-{run}"
        assert isinstance(self.broker, OfficialBroker)
        admin, name = Admin(self.broker.admin_url), f"public/crash-{run}"
        provision(admin, loop, name)
        admin.close()
        return name

    def _broker(self) -> Broker | OfficialBroker:
        if self.kind == "embedded":
            return Broker(self._directory)
        ports = {name: link.port for name, link in self.links.items()}
        return _Official(self._directory, ports)

    def _aim(self) -> None:
        port = int(self.broker.url.rpartition(":")[2])
        for link in self.links.values():
            link.target = port


class _Official(OfficialBroker):
    """Advertises each link as a listener of its own, so that what a process looks up leads through its link."""

    def __init__(self, directory: Path, ports: dict[str, int]) -> None:
        super().__init__(directory)
        self._links = ports

    def _command(self, port: int):  # type: ignore[no-untyped-def]
        listeners = {"internal": port} | self._links
        advertised = ",".join(f"{name}:pulsar://{HOST}:{own}" for name, own in listeners.items())
        self._conf = {
            "advertisedAddress": "",
            "advertisedListeners": advertised,
            "internalListenerName": "internal",
        }
        return super()._command(port)
