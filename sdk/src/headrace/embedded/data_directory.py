"""The directory of a loop's state: private to its owner, still present, and with room left on its disk."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from headrace.errors import Unavailable

#: Free bytes below which a disk counts as full: a server refuses writes before the last block is used.
_LEAST_ROOM = 4 * 2**20

#: The lock of the process that runs a loop, in the directory of its state.
UP_LOCK = "up.lock"

_DIRECTORY, _FILE = 0o700, 0o600


def private_directory(path: Path) -> Path:
    """Create a directory that only its owner may enter, with any missing parents; return it.

    An existing one is closed to others if it is this user's and holds nothing but a loop's state.
    """
    for missing in reversed([folder for folder in (path, *path.parents) if not folder.exists()]):
        missing.mkdir(_DIRECTORY, exist_ok=True)
    status = path.stat()
    if status.st_mode & 0o077 and status.st_uid == os.getuid() and _is_state(path, status.st_mode):
        path.chmod(_DIRECTORY)
    return path


def _is_state(path: Path, mode: int) -> bool:
    """Return whether a directory is a loop's own: a temporary folder, or the user's project, is not."""
    return not mode & stat.S_ISVTX and ((path / UP_LOCK).exists() or not any(path.iterdir()))


def private_file(path: Path | str, flags: int) -> int:
    """Open a file that only its owner may read: an opener for `open`."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, _FILE)
    status = os.fstat(descriptor)
    if status.st_mode & 0o077 and status.st_uid == os.getuid():
        os.fchmod(descriptor, _FILE)
    return descriptor


def replace_private(path: Path, data: bytes) -> None:
    """Write a private file in one step: its readers see the former content, or all of the new one."""
    draft = path.with_suffix(".draft")
    write_private(draft, data)
    draft.replace(path)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read."""
    with open(path, "wb", opener=private_file) as file:
        file.write(data)


def is_full(data: Path) -> bool:
    """Return whether the disk of a directory is full; False if the directory is not there."""
    try:
        return _room(data) < _LEAST_ROOM
    except OSError:
        return False


def _room(data: Path) -> int:
    disk = os.statvfs(data)
    return disk.f_bavail * disk.f_frsize


def problems_of(data: Path) -> Sequence[str]:
    """Return what is wrong with the directory of a loop's state, each with its cure; empty if all is well."""
    try:
        room = _room(data)
    except OSError as error:
        return [f"the data directory {data} cannot be read: {error.strerror}"]
    if room >= _LEAST_ROOM:
        return []
    return [
        f"the disk of {data} is full ({room / 2**20:.1f} MiB left): nothing more is accepted or learned. Make room on "
        "it, and the loop goes on by itself"
    ]


def refuse_problems(data: Path) -> None:
    """Refuse the directory of a loop's state if something is wrong with it.

    Raises
    ------
    Unavailable
        It cannot be read, or its disk is full.
    """
    if problems := problems_of(data):
        raise Unavailable("; ".join(problems))


@contextmanager
def full_disk_named(data: Path) -> Iterator[None]:
    """Name the disk of a loop's state in the error of a write for which it has no room.

    Raises
    ------
    Unavailable
        A write failed because this disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            refuse_problems(next(folder for folder in (data, *data.parents) if folder.exists()))
        # Another error, or another full disk, such as that of standard output.
        raise
