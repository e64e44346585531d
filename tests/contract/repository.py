"""Paths of the repository, and a way to run the tools beside this Python."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from headrace.runtime.settings import ServiceSettings

ROOT = Path(__file__).parents[2]
SERVICES = ("feature", "ingest", "learner", "scorer")

#: `make install` puts the tools here.
TOOLS = Path(sys.executable).parent


def settings_of_services() -> Iterator[type[ServiceSettings]]:
    """Yield the class of each service's settings, and the one that all of them extend."""
    for service in SERVICES:
        for value in vars(importlib.import_module(f"headrace_{service}.settings")).values():
            if isinstance(value, type) and issubclass(value, ServiceSettings):
                yield value


def targets() -> set[str]:
    """Return the targets of the Makefile."""
    return set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def run(*command: str | Path, at: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever its exit code."""
    return subprocess.run([*map(str, command)], cwd=at, capture_output=True, text=True, check=False)


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Return the output of a program that should have succeeded; empty if it did."""
    return "" if done.returncode == 0 else f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
