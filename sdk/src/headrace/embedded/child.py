"""Child processes that never outlive this one, not even its kill -9 (on Linux)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue

from headrace.errors import Unavailable

_LEASH = str(Path(__file__).with_name("leash.py"))
_POLL = 0.02


class Exited(Unavailable):
    """A child process ended before it was ready."""


class Child:
    """One running child process.

    It has its own session, so that a Ctrl-C at the terminal reaches the parent alone, which stops its
    children in order.

    Parameters
    ----------
    name
        What error messages call it.
    command
        The program's absolute path, and its arguments.
    log
        The file that its output is appended to.
    environment
        Variables added to this process's own.
    keep
        A file descriptor that stays open in the child: a lock that lasts as long as it lives.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        keep: int | None = None,
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._said_from = output.tell()
            self._process = _spawner.run(
                lambda: subprocess.Popen(
                    [sys.executable, "-I", "-S", _LEASH, str(os.getpid()), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **(environment or {})},
                    start_new_session=True,
                    pass_fds=() if keep is None else (keep,),
                )
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended (minus the signal's number where one killed it); None while it runs."""
        return self._process.poll()

    @property
    def alive(self) -> bool:
        return self.exit_code is None

    def said(self, last: int = 65_536) -> str:
        """The end of what it has written to its log since it started."""
        with self.log.open("rb") as output:
            size = output.seek(0, os.SEEK_END)
            output.seek(max(self._said_from, size - last))
            return output.read().decode(errors="replace")

    def until(self, ready: Callable[[], bool], deadline_s: float) -> None:
        """Wait until `ready` says so.

        Raises
        ------
        Exited
            It ended first; the message has the last line that it wrote.
        Unavailable
            The deadline passed.
        """
        deadline = time.monotonic() + deadline_s
        while not ready():
            if self.join(_POLL):
                raise Exited(f"{self.name} {ending(self.exit_code)} before it was ready: {self.last_line()}")
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.name} was not ready after {deadline_s:g} s; its log is {self.log}")

    def last_line(self) -> str:
        """The last line that it wrote, or where its log is."""
        lines = self.said().split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), f"it wrote nothing to {self.log}")

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for its end; False when it still runs after the timeout."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def terminate(self) -> None:
        """Ask it to stop (SIGTERM)."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once (SIGKILL), and wait for its end."""
        self._process.kill()
        self._process.wait()

    def stop(self, deadline_s: float = 10.0) -> bool:
        """Ask it to stop, and end it after the deadline; False when that was needed."""
        self.terminate()
        if self.join(deadline_s):
            return True
        self.kill()
        return False


def ending(exit_code: int | None) -> str:
    """An exit code in words: "exited with 1", "was killed by signal 9"."""
    if exit_code is not None and exit_code < 0:
        return f"was killed by signal {-exit_code}"
    return f"exited with {exit_code}"


class _Spawner:
    """One thread that starts all children.

    Linux ties a child to the *thread* that started it, so that thread must last as long as the process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._work: SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]]

    def run(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._owner != os.getpid():  # the first use, also in a fork of the process that had a thread
                self._owner = os.getpid()
                self._work = SimpleQueue()
                threading.Thread(target=self._serve, args=(self._work,), name="spawner", daemon=True).start()
        started: Future[subprocess.Popen[bytes]] = Future()
        self._work.put((start, started))
        return started.result()

    @staticmethod
    def _serve(
        work: SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]],
    ) -> None:
        while True:
            start, started = work.get()
            try:
                started.set_result(start())
            except BaseException as error:
                started.set_exception(error)
            # Not held while the next one is awaited.
            del start, started


_spawner = _Spawner()
