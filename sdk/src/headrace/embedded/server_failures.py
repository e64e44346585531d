"""The failures of a loop's local servers, in a file through which other commands learn of them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from headrace.embedded.data_directory import replace_private
from headrace.errors import Unreadable
from headrace.wire.document import Document


class _Failures(msgspec.Struct):
    """For each server that keeps ending, what is known about it."""

    servers: dict[str, str]


_FAILURES = Document[_Failures]("failures", _Failures)


def failure_text(server: str, reason: str) -> str:
    """Return the message about a server that keeps ending; the reason contains the cure."""
    return f"the {server} has failed: it {reason}"


def write_failures(data: Path, failures: Mapping[str, str]) -> None:
    """Write the failures of the servers into the directory of a loop's state, as far as its disk takes them."""
    file = _file(data)
    with suppress(OSError):  # `problems_of` reports a full disk
        if failures:
            replace_private(file, _FAILURES.encode(_Failures(dict(failures))))
        else:
            file.unlink(missing_ok=True)


def read_failures(data: Path) -> list[str]:
    """Return a message for each failed server of a loop that runs on a data directory."""
    file = _file(data)
    try:
        servers = _FAILURES.decode(file.read_bytes(), str(file)).servers
    except (OSError, Unreadable):
        return []
    return [failure_text(name, reason) for name, reason in servers.items()]


def _file(data: Path) -> Path:
    return data / "failures.json"
