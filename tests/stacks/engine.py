"""A container engine and its compose, either `podman` or `docker`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.deadline import scaled

#: Seconds that one command may take; building an image takes minutes.
_COMMAND_S, _BUILD_S = 180.0, 1_800.0

#: What podman-compose 1.0 prints after a command of podman that failed; it ends with 0 itself.
_FAILED = re.compile(r"^exit code: [1-9]", re.MULTILINE)


class Engine:
    """A runner of the containers of one compose file.

    Parameters
    ----------
    file
        The compose file.
    project
        The prefix of the names of its containers, volumes and network.
    """

    def __init__(self, file: Path, project: str) -> None:
        self._file = file
        self._project = project
        self._engine = "podman" if shutil.which("podman") else "docker"
        self._compose = ("podman-compose",) if self._engine == "podman" else ("docker", "compose")

    def build(self) -> None:
        """Build the images that the compose file names."""
        # Podman's own image format has no health check.
        options = ("--podman-build-args=--format docker",) if self._engine == "podman" else ()
        command = (*self._compose, *options, "-p", self._project, "-f", str(self._file), "build")
        self._run(command, _BUILD_S, failed=_FAILED)

    def create(self) -> None:
        """Create the containers without starting them."""
        command = (*self._compose, "-p", self._project, "-f", str(self._file), "up", "--no-start")
        self._run(command, failed=_FAILED)

    def up(self) -> None:
        self._run((*self._compose, "-p", self._project, "-f", str(self._file), "up", "-d"))

    def down(self, *, volumes: bool = False) -> None:
        """Remove the containers and their network; keep the data in the volumes, unless `volumes` is set."""
        with_volumes = ("-v",) if volumes else ()
        self._run((*self._compose, "-p", self._project, "-f", str(self._file), "down", *with_volumes))

    def start(self, service: str) -> None:
        self._run((self._engine, "start", self._container(service)))

    def kill(self, service: str) -> None:
        """Kill a service without a grace period."""
        self._run((self._engine, "kill", "--signal", "KILL", self._container(service)))

    def address(self, service: str) -> str:
        """Return the address of a running container in the network of the compose file."""
        address = self._inspected(service)["NetworkSettings"]["Networks"][self._network]["IPAddress"]
        assert isinstance(address, str)
        return address

    def leave(self, service: str) -> None:
        """Disconnect a stopped container from the network: it gets another address when it reconnects."""
        self._run((self._engine, "network", "disconnect", self._network, self._container(service)))

    def join(self, service: str, address: str) -> None:
        container = self._container(service)
        self._run((self._engine, "network", "connect", "--alias", service, "--ip", address, self._network, container))

    def is_running(self, service: str) -> bool:
        return bool(self._inspected(service)["State"]["Running"])

    def copy(self, source: Path, service: str, target: str) -> None:
        """Copy files into a container."""
        self._run((self._engine, "cp", str(source), f"{self._container(service)}:{target}"))

    def execute(self, service: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command inside a container, and return how it ended."""
        return subprocess.run(
            (self._engine, "exec", self._container(service), *command),
            capture_output=True,
            text=True,
            check=False,
            timeout=scaled(_COMMAND_S),
        )

    @property
    def _network(self) -> str:
        return f"{self._project}_default"

    def _container(self, service: str) -> str:
        label = "com.docker.compose"
        filters = (f"label={label}.project={self._project}", f"label={label}.service={service}")
        ids = self._run((self._engine, "ps", "-aq", *(f"--filter={condition}" for condition in filters))).split()
        assert len(ids) == 1, f"{len(ids)} containers of {service} instead of one"
        return ids[0]

    def _inspected(self, service: str) -> dict[str, Any]:
        [document] = json.loads(self._run((self._engine, "inspect", self._container(service))))
        assert isinstance(document, dict)
        return document

    def _run(
        self, command: Sequence[str], seconds: float = _COMMAND_S, *, failed: re.Pattern[str] | None = None
    ) -> str:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=scaled(seconds))
        if ended.returncode or (failed and failed.search(ended.stdout)):
            raise RuntimeError(f"{' '.join(command)}\n{ended.stdout[-2_000:]}\n{ended.stderr[-2_000:]}")
        return ended.stdout
