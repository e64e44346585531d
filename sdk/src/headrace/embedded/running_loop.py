"""A whole loop on this machine: local servers and the services, which other processes find through one file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headrace.definition import LoopDefinition
from headrace.embedded.data_directory import (
    UP_LOCK,
    full_disk_named,
    problems_of,
    refuse_problems,
    replace_private,
    write_private,
)
from headrace.embedded.local_servers import Servers
from headrace.embedded.locks import DirectoryLock
from headrace.embedded.processes import Report, Supervisor, Surroundings, log_report
from headrace.embedded.schema_book import SchemaBook
from headrace.embedded.server_failures import failure_text
from headrace.embedded.up_file import UP_FILE, UpFile, data_directory
from headrace.errors import NewerFormat, OlderFormat, Unavailable, Unreadable
from headrace.runtime.pulsar.admin import Admin
from headrace.runtime.pulsar.provisioning import provision
from headrace.runtime.settings import ServiceSettings
from headrace.wire import compiled_loop

if TYPE_CHECKING:
    from headrace.runtime.redis.status import ServiceStatus

#: Further variables for all services, or a function that returns those of an instance.
Environment = Mapping[str, str] | Callable[[str], Mapping[str, str]]


class DataRemoved(Unavailable):
    """The directory of a running loop's state has been removed."""

    def __init__(self, data: Path) -> None:
        super().__init__(
            f"the data directory {data} was removed while the loop ran: nothing that it accepts would be kept, so it "
            "is stopped. `headrace up` starts it afresh"
        )


@dataclass(frozen=True)
class RunningLoop:
    """A running loop and its services.

    Attributes
    ----------
    definition
        The compiled loop.
    pulsar_url, redis_url
        The URLs of its broker and its store.
    data
        The directory of its state.
    loop_file
        The file that declares it.
    namespace
        Tenant and namespace of its topics.
    """

    definition: LoopDefinition
    loop_file: Path
    pulsar_url: str
    redis_url: str
    data: Path
    namespace: str
    _servers: Servers
    _supervisor: Supervisor
    _lock: DirectoryLock

    @property
    def admin_url(self) -> str | None:
        """The admin API of its broker, if it is known."""
        return self._servers.admin_url

    @property
    def servers(self) -> Servers:
        """Its broker and its store, if they run here."""
        return self._servers

    @property
    def addresses(self) -> dict[str, str]:
        """The gRPC address of each service (that of its first ready instance)."""
        addresses: dict[str, str] = {}
        for status in self.status():
            if status.state in ("ready", "waiting") and status.address:
                addresses.setdefault(status.service, status.address)
        return addresses

    @property
    def pids(self) -> dict[str, int]:
        """The processes by instance, including those of the local servers."""
        return {server.name: server.pid for server in self._servers.local} | self._supervisor.pids

    def status(self) -> list[ServiceStatus]:
        """Return the statuses of the services.

        Raises
        ------
        Unavailable
            The store does not answer.
        """
        return self._supervisor.status()

    def problems(self) -> list[str]:
        """Return the problems of its servers and of its data directory, each with the cure."""
        failures = [failure_text(server, reason) for server, reason in self._servers.failures.items()]
        return [*failures, *problems_of(self.data)]

    def check_data(self) -> None:
        """Check that the directory of its state still exists.

        Raises
        ------
        DataRemoved
            It was removed or replaced: the loop could not keep what it accepts.
        """
        if not self._lock.is_there:
            raise DataRemoved(self.data)

    def describe(self) -> UpFile:
        """Return how other processes reach it."""
        return UpFile(
            loop=self.definition.name,
            loop_file=str(self.loop_file),
            pid=os.getpid(),
            pulsar=self.pulsar_url,
            pulsar_admin=self.admin_url,
            namespace=self.namespace,
            redis=self.redis_url,
            data=str(self.data),
            addresses=self.addresses,
            pids=self.pids,
            partitioned=self._servers.has_partitions,
        )


@contextmanager
def run(
    loop_file: Path | str,
    *,
    data: Path | str | None = None,
    pulsar: str | None = None,
    redis: str | None = None,
    pulsar_admin: str | None = None,
    namespace: str | None = None,
    workers: Mapping[str, int] | None = None,
    environment: Environment | None = None,
    report: Report = log_report,
) -> Iterator[RunningLoop]:
    """Run a loop: its four services, on local servers or on yours, until the block ends.

    Parameters
    ----------
    loop_file
        The Python file that declares the loop.
    data
        The directory of its state; default ``.headrace/<loop>``. A later run continues from it.
    pulsar, redis
        URLs of a broker and a store to use instead of local ones; for `pulsar` also ``"official"``: the
        official Apache Pulsar, from any source that this machine has.
    pulsar_admin
        The admin API of that broker, which sets up the loop's topics. Without it they stay as they are.
    namespace
        Tenant and namespace of the loop's topics; by default that of ``HEADRACE_NAMESPACE``.
    workers
        How many processes each service has; 1 by default.
    environment
        Further variables for all services, or a function that returns those of one instance (``feature-0``).
    report
        Called with a message about each crash and restart.

    Raises
    ------
    DefinitionErrors
        The loop file is wrong.
    Unavailable
        A server or a service does not come up, or the directory is in use.
    InvalidRequest
        The broker refuses a topic, or has it with other partitions; or `workers` names an unknown service.
    IncompatibleSchema
        A stream does not fit the events that its topic holds.
    OlderFormat, NewerFormat
        The directory was written by another version of headrace.
    """
    from headrace import compiler

    loop_file = Path(loop_file).absolute()
    loop = compiler.load(loop_file).definition
    directory = (Path(data) if data is not None else data_directory(loop.name)).absolute()
    with ExitStack() as ending:
        with full_disk_named(directory):
            lock = DirectoryLock(directory / UP_LOCK)
            ending.callback(lock.release)
            refuse_problems(directory)
            file = directory / "loop.json"
            _refuse_other_formats(file)
            servers = ending.enter_context(
                Servers(
                    directory,
                    pulsar=pulsar,
                    redis=redis,
                    pulsar_admin=pulsar_admin,
                    say=report,
                    keeps=lambda: lock.is_there,
                )
            )
            if not servers.has_partitions:
                loop = with_one_partition(loop)
            settings = ServiceSettings(loop=file, **({"namespace": namespace} if namespace else {}))
            if servers.admin_url is None and pulsar is None:
                SchemaBook(directory).register(loop)
            _provision(servers.admin_url, loop, settings)
            # Write it only now: a loop that is refused must not replace the definition of the previous one.
            write_private(file, compiled_loop.encode(loop))
            surroundings = Surroundings(
                loop.name,
                file,
                loop_file,
                directory,
                *servers.urls,
                admin_url=servers.admin_url,
                namespace=settings.namespace,
                environment=environment if callable(environment) else lambda instance: environment or {},
            )
            supervisor = ending.enter_context(
                Supervisor(surroundings, workers=workers, report=report, repair=servers.repair)
            )
            ending.callback(lambda: None if lock.is_there else supervisor.kill())
            running = RunningLoop(
                loop, loop_file, *servers.urls, directory, settings.namespace, servers, supervisor, lock
            )
            ending.enter_context(_publish(running))
        yield running


def _provision(admin_url: str | None, loop: LoopDefinition, settings: ServiceSettings) -> None:
    """Set up the loop's topics, if there is an admin API."""
    if admin_url is None:
        return
    token = settings.pulsar_token
    admin = Admin(admin_url, token.get_secret_value() if token else None)
    try:
        provision(admin, loop, settings.namespace)
    finally:
        admin.close()


def with_one_partition(loop: LoopDefinition) -> LoopDefinition:
    """Return the loop in a form that the small local broker can run: it has no partitioned topics."""
    streams = tuple(msgspec.structs.replace(stream, partitions=1) for stream in loop.streams)
    return msgspec.structs.replace(loop, streams=streams)


@contextmanager
def _publish(running: RunningLoop) -> Iterator[None]:
    file = running.data / "up.json"
    replace_private(file, UP_FILE.encode(running.describe()))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def _refuse_other_formats(file: Path) -> None:
    """Refuse a data directory of another version of headrace, before anything in it is touched."""
    try:
        compiled_loop.decode(file.read_bytes(), str(file))
    except (OlderFormat, NewerFormat):
        raise
    except (FileNotFoundError, Unreadable):
        pass  # it will be written again
