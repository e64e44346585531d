"""The last version of each model on this machine's disk: for a scorer that starts while the broker is away."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import structlog

_log = structlog.get_logger()


class KeptVersions:
    """Versions as they stood on the models topic, a file each; they are checked as those from there are.

    Without a disk that takes them the scorer goes on: they are only for a bad day.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self) -> list[bytes]:
        """All that are there."""
        try:
            return [path.read_bytes() for path in sorted(self._directory.glob("*.version"))]
        except OSError as error:
            _log.warning("kept versions not read", reason=str(error))
            return []

    def save(self, versions: Mapping[str, bytes]) -> None:
        """Keep these, by model, in the place of those before; whole or not at all."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for model, version in versions.items():
                # Several scorers may share the directory.
                draft = self._directory / f"{model}.{os.getpid()}.tmp"
                draft.write_bytes(version)
                draft.replace(self._directory / f"{model}.version")
        except OSError as error:
            _log.warning("version not kept", reason=str(error))
