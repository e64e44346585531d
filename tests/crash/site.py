"""The loop of one run: its store, its processes, and the links between them, each of which a fault can reach."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from headrace import compiler
from headrace.embedded.child import Child
from headrace.embedded.processes import SERVICES, Delays, Supervisor, Surroundings, Worker
from headrace.embedded.servers import Store
from headrace.engine.kernel.partition import PartitionId, Reached
from headrace.runtime.redis.partitions import PartitionStore
from headrace.wire import compiled_loop
from headrace.wire.topics import Topics
from tests.crash.grounds import INSTANCES, WORKERS, Grounds
from tests.crash.proxy import HOST, Link
from tests.deadline import scaled

_ROOT = Path(__file__).parents[2]


class Site:
    """A loop under test; as a context manager it runs for the block.

    Parameters
    ----------
    linked
        Run two processes of most services, each behind its own links; otherwise run one of each, undisturbed.
    services
        Modules that replace the services' own: mutants.
    environment
        Additional variables for all processes.
    """

    def __init__(
        self,
        grounds: Grounds,
        directory: Path,
        loop_file: Path,
        *,
        linked: bool,
        services: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.grounds = grounds
        self.directory = directory
        self.loop_file = loop_file
        self.loop = grounds.fits(compiler.load(loop_file).definition)
        self.store = Store(directory)
        self.stores: dict[str, Link] = {}
        self.addresses: dict[str, str] = {}
        self.reports: list[str] = []
        self._linked = linked
        self._services = dict(SERVICES) | dict(services or {})
        self._environment = dict(environment or {})
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            starting.enter_context(self.store)
            self.namespace = self.grounds.namespace(self.loop)
            self.topics = Topics(self.loop.name, self.namespace)
            compiled = self.directory / "loop.json"
            compiled.write_bytes(compiled_loop.encode(self.loop))
            if self._linked:
                port = int(self.store.url.rpartition(":")[2].partition("/")[0])
                self.grounds.proxy.heal()
                self.stores = {name: self.grounds.proxy.link(f"{name} to store", port) for name in INSTANCES}
            surroundings = Surroundings(
                self.loop.name,
                compiled,
                self.loop_file,
                self.directory,
                self.grounds.broker.url,
                self.store.url,
                environment=self._environment_of,
            )
            self.supervisor = starting.enter_context(
                Supervisor(
                    surroundings,
                    workers=WORKERS if self._linked else None,
                    services=self._services,
                    report=self._report,
                    delays=Delays(0.1, 1.0, 3.0),
                )
            )
            self.addresses = {status.instance: status.address for status in self.supervisor.status()}
            self._running = starting.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._running.close()
        for link in self.stores.values():
            self.grounds.proxy.close(link)

    def stop(self) -> None:
        """Stop the processes in order; broker and store stay up."""
        self.supervisor.stop()

    def of(self, service: str) -> list[str]:
        """Return the addresses of a service's processes."""
        return [address for name, address in self.addresses.items() if name.rpartition("-")[0] == service]

    def data(self, service: str) -> Path:
        """Return a service's data directory."""
        return self.directory / "state" / service

    def redis(self) -> redis.Redis:
        """Return a client of the store that bypasses the links."""
        return redis.Redis.from_url(self.store.url, socket_timeout=10, socket_connect_timeout=10)

    def reached(self) -> dict[PartitionId, Reached]:
        """Return how far the fold of each partition reports to be.

        Raises
        ------
        Unavailable
            The store does not answer.
        """
        partitions = [
            PartitionId(stream.name, index) for stream in self.loop.streams for index in range(stream.partitions)
        ]
        with self.redis() as store:
            reports = PartitionStore(store, self.loop.name).owner_reports(partitions)
        return {partition: Reached() if report is None else report.reached for partition, report in reports.items()}

    def child(self, instance: str, seconds: float = 30.0) -> Child:
        """Return the process of an instance; wait for it while it is being restarted."""
        worker = self._worker(instance)
        deadline, pause = time.monotonic() + scaled(seconds), threading.Event()
        while True:
            child = worker.child
            if child is not None and child.alive:
                return child
            if time.monotonic() > deadline:
                raise TimeoutError(f"{instance} is not started again")
            pause.wait(0.02)

    def signal(self, instance: str, number: signal.Signals) -> Child:
        """Send a signal to an instance's process."""
        child = self.child(instance)
        os.kill(child.pid, number)
        return child

    def _worker(self, instance: str) -> Worker:
        return next(worker for worker in self.supervisor.workers if worker.instance == instance)

    def _environment_of(self, instance: str) -> dict[str, str]:
        environment = {
            "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]),
            "HEADRACE_NAMESPACE": self.namespace,
            "HEADRACE_PATIENCE_S": "10",
            "PYTHONFAULTHANDLER": "1",
            **(self.grounds.environment(instance) if self._linked else self.grounds.environment()),
            **self._environment,
        }
        if self._linked:
            environment["HEADRACE_REDIS_URL"] = f"redis://{HOST}:{self.stores[instance].port}/0"
        return environment

    def _report(self, text: str) -> None:
        with (self.directory / "restarts.log").open("a") as log:
            log.write(f"{time.time():.3f} {text}\n")
        self.reports.append(text)
