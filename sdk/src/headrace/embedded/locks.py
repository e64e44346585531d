"""Locks that allow one process per data directory."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from headrace.embedded.data_directory import private_directory, private_file
from headrace.errors import Unavailable

#: Seconds to wait for a lock: its holder may be about to end.
PATIENCE_S = 1.5


class DirectoryLock:
    """An exclusive lock that ends with the last process that has it open, even after a crash.

    Parameters
    ----------
    path
        The lock file.
    patience_s
        Seconds to wait for it; by default `PATIENCE_S`.

    Raises
    ------
    Unavailable
        Another process holds it.
    """

    def __init__(self, path: Path, patience_s: float | None = None) -> None:
        private_directory(path.parent)
        self._path = path
        self.fd = private_file(path, os.O_RDWR | os.O_CREAT)
        deadline = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
        while not _try(self.fd):
            if time.monotonic() > deadline:
                os.close(self.fd)
                raise Unavailable(f"{path.parent} is in use by another process; end it, or take another directory")
            time.sleep(0.02)

    @property
    def is_there(self) -> bool:
        """Whether its file is still where it was created."""
        try:
            by_path = os.stat(self._path)
        except OSError:
            return False
        by_fd = os.fstat(self.fd)
        return (by_path.st_dev, by_path.st_ino) == (by_fd.st_dev, by_fd.st_ino)

    def release(self) -> None:
        """Release it; a child that keeps the descriptor still holds it."""
        os.close(self.fd)


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock."""
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
