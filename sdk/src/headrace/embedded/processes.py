"""The services of a loop as processes of this machine, kept running."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from headrace.embedded.child import Child, ending
from headrace.embedded.ports import HOST, PortBook
from headrace.errors import Unavailable, UnknownName
from headrace.store.status import ServiceStatus, StatusBoard, status_key

#: The services, in the order in which they are shown, and the module that runs each.
SERVICES = {
    "ingest": "headrace_ingest",
    "feature": "headrace_feature",
    "learner": "headrace_learner",
    "scorer": "headrace_scorer",
}

# Who ends so often before it was ever ready will not come up.
_ENDINGS_BEFORE_READY = 3
_POLL_S = 0.05

Report = Callable[[str], None]
Mend = Callable[[str], str]


def log_report(text: str) -> None:
    """Report to the log."""
    import structlog

    structlog.get_logger().warning(text)


@dataclass(frozen=True)
class Delays:
    """Seconds before an ended process is started again: `first`, doubled each time up to `longest`.

    Who ran for `steady` seconds gets the first delay again.
    """

    first: float = 0.2
    longest: float = 10.0
    steady: float = 30.0


_DELAYS = Delays()


@dataclass(frozen=True)
class Surroundings:
    """What the services of one loop are told.

    `loop` is the compiled loop, `loop_file` the Python file it was compiled from, `data` the directory
    of its state; `environment` gives further variables of an instance, which go before all others.
    """

    name: str
    loop: Path
    loop_file: Path
    data: Path
    pulsar_url: str
    redis_url: str
    admin_url: str | None = None
    namespace: str | None = None
    environment: Callable[[str], Mapping[str, str]] = lambda instance: {}

    def of(self, service: str, instance: str, bind: str) -> dict[str, str]:
        """The environment of one process."""
        return {
            "HEADRACE_LOOP": str(self.loop),
            "HEADRACE_LOOP_FILE": str(self.loop_file),
            "HEADRACE_PULSAR_URL": self.pulsar_url,
            "HEADRACE_REDIS_URL": self.redis_url,
            "HEADRACE_BIND": bind,
            "HEADRACE_DATA": str(self.data / "state" / service),
            "HEADRACE_INSTANCE": instance,
            **({"HEADRACE_PULSAR_ADMIN_URL": self.admin_url} if self.admin_url else {}),
            **({"HEADRACE_NAMESPACE": self.namespace} if self.namespace else {}),
            **self.environment(instance),
        }


class Worker:
    """One process of a service: started again, ever later, whenever it ends without being asked to.

    Parameters
    ----------
    service, index
        Together its instance name: ``feature-0``.
    module
        The module that ``python -m`` runs.
    surroundings
        What it is told.
    store
        Where the statuses are.
    report, mend, delays
        As the supervisor's.
    """

    def __init__(
        self,
        service: str,
        index: int,
        module: str,
        surroundings: Surroundings,
        store: redis.Redis,
        report: Report,
        mend: Mend,
        delays: Delays,
    ) -> None:
        self.service = service
        self.instance = f"{service}-{index}"
        self.log = surroundings.data / "logs" / (f"{service}.log" if index == 0 else f"{self.instance}.log")
        self.endings = 0
        self._module = module
        self._surroundings = surroundings
        self._store = store
        self._report = report
        self._mend = mend
        self._delays = delays
        self._ports = PortBook(surroundings.data / "ports")
        self._child: Child | None = None
        # Guards the child against being replaced while it is asked to stop.
        self._changing = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=self.instance, daemon=True)

    @property
    def child(self) -> Child | None:
        """Its process, as started last."""
        return self._child

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        (self._surroundings.data / "state" / self.service).mkdir(parents=True, exist_ok=True)
        self._forget()
        self._thread.start()

    def ready(self, status: ServiceStatus) -> None:
        """Keep its address for its next start."""
        port = status.address.rpartition(":")[2]
        if port.isdigit():
            self._ports.note(self.instance, int(port))

    def ask_to_stop(self) -> None:
        """Send SIGTERM, and start it no more."""
        with self._changing:
            self._stopping.set()
            if self._child is not None:
                self._child.terminate()

    def stop(self, deadline: float) -> bool:
        """Wait for its end until the (monotonic) deadline, then end it; False when that was needed."""
        self.ask_to_stop()
        child = self._child
        clean = child is None or child.join(max(deadline - time.monotonic(), 0.0))
        if child is not None and not clean:
            child.kill()
        if self._thread.ident is not None:
            self._thread.join()
        return clean

    def _keep(self) -> None:
        delay = self._delays.first
        while True:
            began = time.monotonic()
            try:
                child = self._spawn()
            except OSError as error:  # no memory, no process left
                ended = f"could not be started: {error}"
            else:
                if child is None:
                    return
                child.join()
                self._forget()
                ended = ending(child.exit_code)
                if (child.exit_code or 0) > 0:  # it had its reasons
                    ended += f" ({child.last_line()})"
                    if mended := self._mend(child.last_line()):
                        self._report(mended)
            if self._stopping.is_set():
                return
            self.endings += 1
            if time.monotonic() - began > self._delays.steady:
                delay = self._delays.first
            self._report(f"{self.instance} {ended}; starting it again in {delay:g} s, its log is {self.log}")
            if self._stopping.wait(delay):
                return
            delay = min(2 * delay, self._delays.longest)

    def _spawn(self) -> Child | None:
        with self._changing:
            if self._stopping.is_set():
                return None
            bind = f"{HOST}:{self._ports.last(self.instance) or 0}"
            self._child = Child(
                self.instance,
                [sys.executable, "-m", self._module, "--loop", str(self._surroundings.loop)],
                log=self.log,
                environment=self._surroundings.of(self.service, self.instance, bind),
            )
            return self._child

    def _forget(self) -> None:
        """Take what an ended process said of itself off the board."""
        try:
            self._store.delete(status_key(self._surroundings.name, self.service, self.instance))
        except redis.RedisError:
            return  # the store is down: the service will say so itself


class Supervisor:
    """All processes of a loop's services; as a context manager it runs them for the block.

    Parameters
    ----------
    surroundings
        What they are told.
    workers
        How many processes of a service; 1 where nothing is said.
    report
        Told of each crash and restart.
    services
        The services and their modules.
    mend
        Given the last words of a service that failed, does what helps, and says what.
    delays
        Before what has ended is started again.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        *,
        workers: Mapping[str, int] | None = None,
        report: Report = log_report,
        services: Mapping[str, str] = SERVICES,
        mend: Mend = lambda words: "",
        delays: Delays = _DELAYS,
        ready_s: float = 90.0,
        stop_s: float = 15.0,
    ) -> None:
        counts = dict.fromkeys(services, 1) | dict(workers or {})
        for service in counts:
            if service not in services:
                raise UnknownName("service", service, tuple(services))
        self._ready_s = ready_s
        self._stop_s = stop_s
        self._report = report
        self._store = redis.Redis.from_url(surroundings.redis_url, socket_timeout=5.0, socket_connect_timeout=5.0)
        self._board = StatusBoard(self._store, surroundings.name)
        self.workers = tuple(
            Worker(service, index, module, surroundings, self._store, report, mend, delays)
            for service, module in services.items()
            for index in range(counts[service])
        )

    def start(self) -> None:
        """Start all, and wait until each is ready.

        Raises
        ------
        Unavailable
            One of them does not come up, and why.
        """
        for worker in self.workers:
            worker.start()
        deadline = time.monotonic() + self._ready_s
        waiting = {worker.instance: worker for worker in self.workers}
        pause = threading.Event()
        while True:
            for status in self._statuses():
                if status.state == "ready" and status.address and status.instance in waiting:
                    waiting.pop(status.instance).ready(status)
            if not waiting:
                return
            for worker in waiting.values():
                if worker.endings >= _ENDINGS_BEFORE_READY:
                    said = worker.child.last_line() if worker.child else ""
                    raise Unavailable(f"{worker.instance} does not come up: {said} (its log is {worker.log})")
            if time.monotonic() > deadline:
                logs = ", ".join(f"{worker.instance} ({worker.log})" for worker in waiting.values())
                raise Unavailable(f"not ready after {self._ready_s:g} s: {logs}")
            pause.wait(_POLL_S)

    def status(self) -> list[ServiceStatus]:
        """What the services say of themselves.

        Raises
        ------
        Unavailable
            The store does not answer.
        """
        try:
            return self._board.read()
        except redis.RedisError as error:
            raise Unavailable(f"the online store does not answer: {error}") from error

    @property
    def pids(self) -> dict[str, int]:
        """The processes by instance."""
        return {worker.instance: worker.child.pid for worker in self.workers if worker.child}

    def stop(self) -> None:
        """SIGTERM to all; after the deadline SIGKILL to those that still run."""
        for worker in self.workers:
            worker.ask_to_stop()
        deadline = time.monotonic() + self._stop_s
        for worker in self.workers:
            if not worker.stop(deadline):
                self._report(f"{worker.instance} did not stop in {self._stop_s:g} s and was killed")
        self._store.close()

    def _statuses(self) -> list[ServiceStatus]:
        try:
            return self._board.read()
        except redis.RedisError:
            return []

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
