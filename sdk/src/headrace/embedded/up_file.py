"""The file through which other processes find a running loop; it is read by every command, so it imports little."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from headrace.embedded.data_directory import UP_LOCK
from headrace.embedded.locks import is_held
from headrace.wire.document import Document

#: The default parent of a loop's state: ``.headrace/<loop>``.
HOME = Path(".headrace")


class UpFile(msgspec.Struct, kw_only=True):
    """`up.json` in the data directory: how to reach a running loop.

    `addresses` are the services' gRPC addresses, `pids` the processes by instance, both as of the start
    (after a crash, the statuses in the store have the current ones); `pid` is that of the process
    that keeps them all running. `partitioned` says whether the broker has partitioned topics.
    """

    loop: str
    loop_file: str
    pid: int
    pulsar: str
    pulsar_admin: str | None = None
    namespace: str = "public/default"
    redis: str
    data: str
    addresses: dict[str, str]
    pids: dict[str, int]
    partitioned: bool = True


UP_FILE = Document[UpFile]("up", UpFile)


def data_directory(loop: str) -> Path:
    """Return the directory of a loop's state, unless `--data` or ``HEADRACE_DATA`` sets another."""
    return Path(os.environ.get("HEADRACE_DATA") or HOME / loop)


def read_up_file(data: Path) -> UpFile | None:
    """Return how to reach the loop that runs on a data directory; None if none does.

    Raises
    ------
    Unreadable
        The loop runs by another version of headrace, or its file is damaged.
    """
    if not is_held(data / UP_LOCK):
        return None  # ignore a file that a crash left behind
    file = data / "up.json"
    try:
        return UP_FILE.decode(file.read_bytes(), str(file))
    except FileNotFoundError:
        return None  # still starting
