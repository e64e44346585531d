"""The last version of each model on this machine's disk: for a scorer that starts while the broker is down."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

from headrace.errors import Unreadable
from headrace.runtime.pulsar.model_versions import read_version
from headrace.v1.models_pb2 import ModelVersion
from headrace.wire.frame import Kind, seal, unseal

_log = structlog.get_logger()


class VersionCache:
    """Versions as the models topic had them, one file each; they are checked like those from the topic.

    They are best effort: the scorer runs on if the disk fails, and only uses them if the broker is down at startup.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self) -> list[ModelVersion]:
        """Return all versions that are there; damaged ones are left out."""
        versions = []
        try:
            self._directory.mkdir(0o700, parents=True, exist_ok=True)
            for path in sorted(self._directory.glob("*.version")):
                with _left_out(path):
                    versions.append(read_version(unseal(Kind.VERSION, path.read_bytes(), path.name)))
        except OSError as error:
            _log.warning("version_cache_unreadable", reason=str(error))
        return versions

    def save(self, versions: Mapping[str, ModelVersion]) -> None:
        """Replace the cached versions of these models; each file is complete or unchanged."""
        try:
            # Not its parents: a data directory that was removed must not come back with old versions.
            self._directory.mkdir(0o700, exist_ok=True)
            for model, version in versions.items():
                # Several scorers may share the directory, hence the process id.
                draft = self._directory / f"{model}.{os.getpid()}.tmp"
                draft.write_bytes(seal(Kind.VERSION, version.SerializeToString(deterministic=True)))
                draft.replace(self._directory / f"{model}.version")
        except OSError as error:
            _log.warning("version_not_cached", reason=str(error))


@contextmanager
def _left_out(path: Path) -> Iterator[None]:
    try:
        yield
    except Unreadable as error:
        _log.warning("cached_version_unreadable", path=str(path), reason=str(error))
