"""One process a data directory."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from headrace.errors import Unavailable

#: How long a lock is waited for: its holder may be about to end.
PATIENCE_S = 1.5


class DirectoryLock:
    """An exclusive lock that ends with the last process that has it open, however that ends.

    Parameters
    ----------
    path
        The lock file.
    patience_s
        How long it is waited for, by default `PATIENCE_S`.

    Raises
    ------
    Unavailable
        Another process holds it.
    """

    def __init__(self, path: Path, patience_s: float | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
        while not _try(self.fd):
            if time.monotonic() > deadline:
                os.close(self.fd)
                raise Unavailable(f"{path.parent} is in use by another process; end it, or take another directory")
            time.sleep(0.02)

    def release(self) -> None:
        """Let go of it; a child that keeps the descriptor still holds it."""
        os.close(self.fd)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try(fd)
    finally:
        os.close(fd)


def _try(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
