"""Questions to servers and ports of this machine."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from headrace.embedded.servers import Server


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])


def listening_on(pid: int) -> set[str]:
    """Return the addresses (hexadecimal, as the kernel writes them) that a process listens on."""
    sockets = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
    rows = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1] for row in rows if row[3] == "0A" and row[9] in sockets}
