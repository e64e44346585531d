"""Child processes that never outlive this process, even if it is killed with SIGKILL (on Linux)."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue

from headrace.embedded.data_directory import private_directory, private_file
from headrace.errors import Unavailable

_LEASH = str(Path(__file__).with_name("parent_watch.py"))
_POLL = 0.02

#: The share of a core that a process uses at least while it makes progress: occasional retries use less.
_BUSY = 0.05


class Exited(Unavailable):
    """A child process ended before it was ready."""


class Child:
    """A running child process.

    It has its own session, so that Ctrl-C at the terminal only reaches the parent, which then stops its
    children in order.

    Parameters
    ----------
    name
        Its name in error messages.
    command
        The program's absolute path, and its arguments.
    log
        The file to which its output is appended.
    environment
        Variables added to this process's own.
    keep
        A file descriptor that stays open in the child: a lock that lasts as long as the child.
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
        private_directory(log.parent)
        with open(log, "ab", opener=private_file) as output:
            self._log_start = self._log_position = output.tell()
            self._searched: dict[str, int | None] = {}
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
        """The exit code (minus the signal's number if a signal killed the child); None while it runs."""
        return self._process.poll()

    @property
    def alive(self) -> bool:
        return self.exit_code is None

    def output(self, last: int = 65_536) -> str:
        """Return the end of the output that the child has logged since its start."""
        return self._read_log(self._log_start, last)[0]

    def new_output(self, last: int = 65_536) -> str:
        """Return the output since the last call; at most the last `last` bytes of it."""
        text, self._log_position = self._read_log(self._log_position, last)
        return text

    def wrote(self, words: str) -> bool:
        """Return whether these words are in its output since its start, however much it has written after them."""
        start = self._searched.get(words, self._log_start)
        if start is None:
            return True
        text, end = self._read_log(start, sys.maxsize)
        # The words may be half written yet.
        self._searched[words] = None if words in text else max(start, end - len(words.encode()))
        return words in text

    def _read_log(self, start: int, last: int) -> tuple[str, int]:
        """Return the log from a position on, and the position of its end; empty if the log was removed."""
        try:
            with self.log.open("rb") as output:
                size = output.seek(0, os.SEEK_END)
                output.seek(max(start, size - last))
                return output.read().decode(errors="replace"), size
        except OSError:
            return "", start

    @property
    def cpu_s(self) -> float:
        """The CPU time (seconds) that it has used; 0 if the system does not report it."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError, ValueError):
            return 0.0

    def until(self, ready: Callable[[], bool], deadline_s: float) -> None:
        """Wait until `ready` returns true, as long as the child makes progress.

        Raises
        ------
        Exited
            It ended first; the message contains the last line that it wrote.
        Unavailable
            It made no progress for the time of the deadline.
        """
        patience = Patience(deadline_s)
        while not ready():
            if self.join(_POLL):
                raise Exited(f"{self.name} {ending(self.exit_code)} before it was ready: {self.last_line()}")
            patience.saw(patience.busy(self.cpu_s))
            if patience.is_over:
                raise Unavailable(f"{self.name} was not ready after {deadline_s:g} s; its log is {self.log}")

    def last_line(self) -> str:
        """Return the last line of the output, or a hint to the log if there is none."""
        lines = self.output().split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return _reason(last) or f"it wrote nothing to {self.log}"

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for its end; return False if it still runs after the timeout."""
        if self._process.returncode is not None:
            return True  # its number may be another process's by now
        if timeout_s is not None and (ended := _ends_within(self.pid, timeout_s)) is not None:
            if ended:
                # Not `poll`: it says nothing while another thread waits for the same child.
                self._process.wait()
            return ended
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
        """Ask it to stop, and kill it after the deadline; return False if that was needed."""
        self.terminate()
        if self.join(deadline_s):
            return True
        self.kill()
        return False


def _ends_within(pid: int, timeout_s: float) -> bool | None:
    """Wait for the end of a child by a file descriptor; return None where the system has none for processes.

    With a timeout, `Popen.wait` looks twenty times a second, which costs more than all else that an idle `up` does.
    """
    if sys.platform != "linux":
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:  # somebody has waited for it
        return True
    except OSError:  # the kernel is older than 5.3
        return None
    try:
        end = select.poll()
        end.register(descriptor, select.POLLIN)
        return bool(end.poll(timeout_s * 1_000))
    finally:
        os.close(descriptor)


def ending(exit_code: int | None) -> str:
    """Describe an exit code in words: "exited with 1", "was killed by signal 9"."""
    if exit_code is not None and exit_code < 0:
        return f"was killed by signal {-exit_code}"
    return f"exited with {exit_code}"


def _reason(line: str) -> str:
    """Return the message of a log line; for a line in JSON, the reason of its event."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    if not isinstance(record, dict):
        return line
    return str(record.get("reason") or record.get("error") or record.get("event") or line)


class Patience:
    """A timer that expires when something awaited has made no progress for too long.

    Parameters
    ----------
    idle_s
        Seconds that it may take without progress.
    clock
        Returns the time in seconds.
    """

    def __init__(self, idle_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_s = idle_s
        self._clock = clock
        self._moved_at = clock()
        self._evidence: object = None

    def saw(self, evidence: object) -> None:
        """Note an observation: a difference from the last observation is progress."""
        if evidence != self._evidence:
            # The first observation is not progress: it is what the next one is compared with.
            self._moved_at = self._clock() if self._evidence is not None else self._moved_at
            self._evidence = evidence

    def busy(self, cpu_s: float) -> int:
        """Convert CPU time to evidence: it differs while a process uses at least `_BUSY` of a core."""
        return int(cpu_s / max(_BUSY * self._idle_s, 0.1))

    @property
    def is_over(self) -> bool:
        """Whether there has been no progress for too long."""
        return self._clock() - self._moved_at >= self._idle_s


class _Spawner:
    """A thread that starts all children.

    Linux ties a child to the *thread* that started it, so that thread must live as long as the process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._work: SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]]

    def run(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._owner != os.getpid():  # on first use, even in a fork of a process that had the thread
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
            # Drop the references before waiting for the next one.
            del start, started


_spawner = _Spawner()
