"""A command in a terminal: a pseudo-terminal, and the contents of its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.deadline import measured, scaled

_ROWS, _COLUMNS = 50, 160

#: Variables that would override the terminal itself; test runners set some of them.
_NOT_ITS_OWN = ("NO_COLOR", "CI", "COLUMNS", "LINES")
_READ = 65_536

#: Control sequences of a terminal: those that begin with ESC [ or ESC ], and single ones.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_78=>])")


class Terminal:
    """A command that behaves as if a person read its output; as a context manager it ends with the block."""

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.written = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        variables = {name: value for name, value in os.environ.items() if name not in _NOT_ITS_OWN}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headrace.cli", *arguments],
            cwd=folder,
            env={**variables, "TERM": "xterm-256color", **(environment or {})},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    @property
    def text(self) -> str:
        """Everything that was written, without control sequences."""
        return _SEQUENCE.sub("", self.written).replace("\r", "")

    def pause(self, seconds: float) -> None:
        """Let the command run for a while, as a person does while looking at it."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._read(left)

    def until(self, condition: Callable[[str], bool], seconds: float = 30) -> str:
        """Read until the text fulfils a condition; return the text.

        Raises
        ------
        TimeoutError
            It does not do so in time, or the command ends first.
        """
        start = time.monotonic()
        while not condition(self.text):
            ended = not self._read(0.2)
            late = time.monotonic() > start + scaled(seconds) and time.monotonic() > start + seconds * measured()
            if late or (ended and not condition(self.text)):
                raise TimeoutError(f"the terminal shows:\n{self.text[-4_000:]}")
        return self.text

    def end(self, by: int | None = None, seconds: float = 30) -> int:
        """Wait for the command's end, after a signal if one is given; return the exit code."""
        if by is not None:
            self.process.send_signal(by)
        deadline = time.monotonic() + scaled(seconds)
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"it does not end; the terminal shows:\n{self.text[-4_000:]}")
            self._read(0.1)
        while self._read(0.05):
            pass
        return self.process.returncode

    def _read(self, wait_s: float) -> bool:
        """Read what comes within some seconds; return False once nothing more can come."""
        ready, _, _ = select.select([self._master], [], [], min(wait_s, 0.2))
        if not ready:
            return self.process.poll() is None
        try:
            data = os.read(self._master, _READ)
        except OSError:  # Linux raises this when the other side is closed
            return False
        self.written += data.decode(errors="replace")
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.end()
            except TimeoutError:
                self.process.kill()
                self.process.wait()
        os.close(self._master)
