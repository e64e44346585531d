"""Ports on 127.0.0.1 that stay the same across restarts on one data directory, if they are free."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

from headrace.embedded.data_directory import private_directory, write_private

HOST = "127.0.0.1"

# Above the well-known ones; Linux gives clients those from 32768 on, other systems from 49152.
_PORTS = range(20_000, 32_768)


def is_free(port: int) -> bool:
    """Return whether a server could listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port that is free now, below those that systems give to clients.

    Otherwise a client's connection could take the port of a server that is briefly down.
    """
    while not is_free(port := secrets.choice(_PORTS)):
        pass
    return port


class PortBook:
    """The ports that servers used last time, one small file each.

    Parameters
    ----------
    directory
        The directory of these files.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def last(self, name: str) -> int | None:
        """Return the last port, if there is one and it is free."""
        try:
            port = int((self._directory / name).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return port if is_free(port) else None

    def note(self, name: str, port: int) -> None:
        """Remember a port for next time."""
        private_directory(self._directory)
        write_private(self._directory / name, f"{port}\n".encode())
