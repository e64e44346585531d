"""Processes of the peers' servers: started in their own environments, and stopped with all that they started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from headrace.embedded.ports import free_port
from tests.bench.peers.environments import PEERS, ROOT, python_of

#: Importing a peer takes long on a busy machine.
START_SECONDS = 120
_STOP_SECONDS = 10


class PeerFailed(Exception):
    """A peer's server did not start."""


@dataclass(frozen=True)
class Process:
    """A running server."""

    name: str
    port: int
    child: subprocess.Popen[str]
    log: Path

    def ask(self, line: str) -> str:
        """Write a line to its standard input; return the line that it prints."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(f"{line}\n")
        self.child.stdin.flush()
        answer = self.child.stdout.readline()
        if not answer:
            raise self.failure()
        return answer

    def wait_for_port(self) -> None:
        """Return once it accepts connections."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.child.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise self.failure()

    def wait_for_line(self) -> None:
        """Return once it has printed its first line."""
        assert self.child.stdout is not None
        if not self.child.stdout.readline():
            raise self.failure()

    def failure(self) -> PeerFailed:
        """Describe why it is of no use, with the end of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return PeerFailed(f"{self.name}: {lines[-1] if lines else 'no answer'} (log: {self.log})")


@dataclass
class Servers:
    """All servers of a run."""

    directory: Path
    store_url: str
    _running: list[Process] = field(default_factory=list)

    def start(self, peer: str, *options: str) -> Process:
        """Start a peer's server, with the options of its file."""
        name = " ".join((peer, *options))
        python, port = python_of(peer), free_port()
        log = self.directory / f"{'-'.join((peer, *options))}.log"
        server = PEERS / peer / "server.py"
        # The generated messages are all that a server may import of headrace.
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "sdk" / "src"), "PATH": _path(python)}
        with log.open("w") as file:
            child = subprocess.Popen(
                [python, server, self.directory, self.store_url, str(port), *options],
                cwd=self.directory,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if "sdk" in options else file,
                stderr=file,
                text=True,
                start_new_session=True,
            )
        process = Process(name, port, child, log)
        self._running.append(process)
        return process

    def stop(self) -> None:
        """Stop every server and its children."""
        for process in self._running:
            _signal(process.child, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        for process in self._running:
            with suppress(subprocess.TimeoutExpired):
                process.child.wait(max(deadline - time.monotonic(), 0.1))
            _signal(process.child, signal.SIGKILL)
            process.child.wait()


def _path(python: Path) -> str:
    return f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"


def _signal(child: subprocess.Popen[str], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


@contextmanager
def peer_servers(directory: Path, store_url: str) -> Iterator[Servers]:
    """Start servers during the block."""
    servers = Servers(directory, store_url)
    try:
        yield servers
    finally:
        servers.stop()
