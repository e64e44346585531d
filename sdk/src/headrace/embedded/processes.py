"""The services of a loop as processes on this machine, kept running."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from headrace.embedded.child import Child, Patience, ending
from headrace.embedded.data_directory import private_directory
from headrace.embedded.ports import HOST, PortBook
from headrace.embedded.restarts import Delays, Restarts
from headrace.errors import HeadraceError, Unavailable, UnknownName
from headrace.runtime.redis.connection import connect_without_retries
from headrace.runtime.redis.status import ServiceStatus, StatusBoard, status_key

#: The services, in display order, and the module that runs each.
SERVICES = {
    "ingest": "headrace_ingest",
    "feature": "headrace_feature",
    "learner": "headrace_learner",
    "scorer": "headrace_scorer",
}

# Give up on a process that ends this often before it was ever ready.
_EXITS_BEFORE_READY = 3
_POLL_S = 0.05

#: Seconds between two checks of a process's log, and how often it must report that a server hangs before a repair.
_ATTEND_S = 5.0
_HANGS_BEFORE_REPAIR = 2

#: The log message about a broker that does not answer subscriptions.
HANGS = re.compile("cannot subscribe.*TimeOut")

#: Seconds between two reports of what a start waits for.
_WAITING_EVERY_S = 5.0

Report = Callable[[str], None]
Repair = Callable[[str], str]


def log_report(text: str) -> None:
    """Write a report to the log."""
    import structlog

    structlog.get_logger().warning(text)


_DELAYS = Delays()


@dataclass(frozen=True)
class Surroundings:
    """The environment of one loop's services.

    `loop` is the compiled loop, `loop_file` the Python file it was compiled from, `data` the directory
    of its state; `environment` returns further variables of an instance, which override all others.
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
        """Return the environment variables of one process."""
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
    """One process of a service: it is restarted, with growing delays, whenever it ends without being asked to.

    Parameters
    ----------
    service, index
        Together they are its instance name: ``feature-0``.
    module
        The module that ``python -m`` runs.
    surroundings
        The environment of the process.
    store
        The store with the statuses.
    report, repair, delays
        As in `Supervisor`.
    """

    def __init__(
        self,
        service: str,
        index: int,
        module: str,
        surroundings: Surroundings,
        *,
        store: redis.Redis,
        report: Report,
        repair: Repair,
        delays: Delays,
    ) -> None:
        self.service = service
        self.instance = f"{service}-{index}"
        self.log = surroundings.data / "logs" / (f"{service}.log" if index == 0 else f"{self.instance}.log")
        self._restarts = Restarts(delays)
        self._module = module
        self._surroundings = surroundings
        self._store = store
        self._report = report
        self._repair = repair
        self._board = StatusBoard(store, surroundings.name)
        self._ports = PortBook(surroundings.data / "ports")
        self._child: Child | None = None
        # Guards the child against being replaced while it is being stopped.
        self._changing = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=self.instance, daemon=True)

    @property
    def child(self) -> Child | None:
        """The process that was started last."""
        return self._child

    @property
    def unexpected_exits(self) -> int:
        """How often the process has ended without being asked to."""
        return self._restarts.count

    def start(self) -> None:
        """Start the process; do not wait until it is ready."""
        private_directory(self._surroundings.data / "state" / self.service)
        self._forget()
        self._thread.start()

    def ready(self, status: ServiceStatus) -> None:
        """Remember the address of the process for its next start."""
        port = status.address.rpartition(":")[2]
        if port.isdigit():
            self._ports.note(self.instance, int(port))

    def ask_to_stop(self) -> None:
        """Send SIGTERM, and do not restart the process."""
        with self._changing:
            self._stopping.set()
            if self._child is not None:
                self._child.terminate()

    def kill(self) -> None:
        """Send SIGKILL, and do not restart the process."""
        with self._changing:
            self._stopping.set()
            if self._child is not None:
                self._child.kill()

    def stop(self, deadline: float) -> bool:
        """Wait for its end until the (monotonic) deadline, then kill it; return False if that was needed."""
        self.ask_to_stop()
        child = self._child
        clean = child is None or child.join(max(deadline - time.monotonic(), 0.0))
        if child is not None and not clean:
            child.kill()
        if self._thread.ident is not None:
            self._thread.join()
        return clean

    def _keep(self) -> None:
        while True:
            self._restarts.started()
            try:
                child = self._spawn()
            except OSError as error:  # out of memory, or out of processes
                end, words = f"could not be started: {error}", ""
            else:
                if child is None:
                    return
                self._attend(child)
                self._forget()
                end, words = ending(child.exit_code), child.last_line() if (child.exit_code or 0) > 0 else ""
            if self._stopping.is_set():
                return
            self._try_to_repair(words)
            delay = self._restarts.ended()
            self._report_end(f"{end} ({words})" if words else end, delay)
            if self._stopping.wait(delay):
                return

    def _attend(self, child: Child) -> None:
        """Wait for the end of a process; if it keeps reporting that a server hangs, try to repair that server."""
        hangs = 0
        while not child.join(_ATTEND_S):
            words = child.new_output()
            hangs += HANGS.search(words) is not None
            # A single report may come from a busy machine.
            if hangs >= _HANGS_BEFORE_REPAIR:
                hangs = 0
                self._try_to_repair(words)

    def _try_to_repair(self, words: str) -> None:
        """Try to repair the fault that the log output names; the process is restarted whether or not that works."""
        try:
            repaired = self._repair(words)
        except HeadraceError as error:
            repaired = str(error)
        if repaired:
            self._report(repaired)

    def _report_end(self, end: str, delay: float) -> None:
        if not self._restarts.failed:
            self._report(f"{self.instance} {end}; starting it again in {delay:g} s, its log is {self.log}")
            return
        note = self._restarts.verdict(end, self.log)
        self._report(f"{self.instance} has failed: it {note}")
        status = ServiceStatus(service=self.service, instance=self.instance, state="failed", note=note)
        with suppress(redis.RedisError):  # its keeper reports a failure of the store
            self._board.write(status)

    def _spawn(self) -> Child | None:
        with self._changing:
            if self._stopping.is_set():
                return None
            bind = f"{HOST}:{self._ports.last(self.instance) or 0}"
            self._child = Child(
                self.instance,
                [sys.executable, "-P", "-m", self._module, "--loop", str(self._surroundings.loop)],
                log=self.log,
                environment=self._surroundings.of(self.service, self.instance, bind),
            )
            return self._child

    def _forget(self) -> None:
        """Remove the status of an ended process from the board."""
        try:
            self._store.delete(status_key(self._surroundings.name, self.service, self.instance))
        except redis.RedisError:
            return  # the store is down: the service itself will report that


class _Start:
    """The start of workers: it tracks which of them are not ready yet, and whether they make progress.

    Parameters
    ----------
    idle_s
        How long they may take without progress.
    report
        Called now and then with the workers that are still not ready.
    """

    def __init__(self, workers: Sequence[Worker], idle_s: float, report: Report) -> None:
        self._waiting = {worker.instance: worker for worker in workers}
        self._patience = Patience(idle_s)
        self._report = report
        self._began = self._reported = time.monotonic()

    def waits(self, statuses: Sequence[ServiceStatus]) -> bool:
        """Return whether some worker is still not ready.

        Raises
        ------
        Unavailable
            A worker does not come up.
        """
        reports = {status.instance: status for status in statuses if status.instance in self._waiting}
        for instance, status in reports.items():
            # A process whose models have all failed is up as well, and reports why.
            if status.state in ("ready", "failed") and status.address:
                self._waiting.pop(instance).ready(status)
        if not self._waiting:
            return False
        self._give_up_after_exits()
        self._look_for_progress(reports)
        return True

    def _give_up_after_exits(self) -> None:
        for worker in self._waiting.values():
            if worker.unexpected_exits >= _EXITS_BEFORE_READY:
                line = worker.child.last_line() if worker.child else ""
                raise Unavailable(f"{worker.instance} does not come up: {line} (its log is {worker.log})")

    def _look_for_progress(self, reports: Mapping[str, ServiceStatus]) -> None:
        now = time.monotonic()
        states = {name: (status.state, status.note) for name, status in reports.items() if name in self._waiting}
        cpu_s = sum(worker.child.cpu_s for worker in self._waiting.values() if worker.child is not None)
        self._patience.saw((sorted(self._waiting), states, self._patience.busy(cpu_s)))
        if self._patience.is_over:
            logs = ", ".join(f"{worker.instance} ({worker.log})" for worker in self._waiting.values())
            raise Unavailable(f"not ready after {now - self._began:.0f} s: {logs}")
        if now - self._reported >= _WAITING_EVERY_S:
            self._reported = now
            names = ", ".join(
                f"{name} ({', '.join(filter(None, states.get(name, ())))})".replace(" ()", "")
                for name in sorted(self._waiting)
            )
            first = "; the kernel is being compiled, once" if not kernel_is_compiled() else ""
            self._report(f"waiting for {names}{first} ({now - self._began:.0f} s, {cpu_s:.0f} s of CPU time)")


def kernel_is_compiled() -> bool:
    """Return whether the compiled kernel is cached: the first start on a machine compiles it, for about a minute."""
    spec = importlib.util.find_spec("headrace.engine.kernel")
    folders = [Path(path) for path in (spec.submodule_search_locations or ())] if spec else []
    cache = os.environ.get("NUMBA_CACHE_DIR")
    places = [Path(cache)] if cache else [folder / "__pycache__" for folder in folders]
    return any(next(place.rglob("tiles.*.nbi"), None) is not None for place in places)


class Supervisor:
    """All processes of a loop's services; as a context manager it runs them within the block.

    Parameters
    ----------
    surroundings
        The environment of the services.
    workers
        How many processes each service has; 1 by default.
    report
        Called with a message about each crash and restart.
    services
        The services and their modules.
    repair
        Called with the log output of a failed service; repairs the cause if it can, and returns what it did, or "".
    delays
        The delays before a process is restarted.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        *,
        workers: Mapping[str, int] | None = None,
        report: Report = log_report,
        services: Mapping[str, str] = SERVICES,
        repair: Repair = lambda words: "",
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
        self._store = connect_without_retries(surroundings.redis_url)
        self._board = StatusBoard(self._store, surroundings.name)
        self.workers = tuple(
            Worker(service, index, module, surroundings, store=self._store, report=report, repair=repair, delays=delays)
            for service, module in services.items()
            for index in range(counts[service])
        )

    def start(self) -> None:
        """Start all, and wait until each is ready, as long as they make progress.

        Raises
        ------
        Unavailable
            One of them does not come up; the error says why.
        """
        for worker in self.workers:
            worker.start()
        start = _Start(self.workers, self._ready_s, self._report)
        pause = threading.Event()
        while start.waits(self._statuses()):
            pause.wait(_POLL_S)

    def status(self) -> list[ServiceStatus]:
        """Return the statuses of the services.

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
        """The process ids by instance."""
        return {worker.instance: worker.child.pid for worker in self.workers if worker.child}

    def kill(self) -> None:
        """Send SIGKILL to all: nothing that they could still save is needed."""
        for worker in self.workers:
            worker.kill()

    def stop(self) -> None:
        """Send SIGTERM to all; after the deadline send SIGKILL to those that still run."""
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
