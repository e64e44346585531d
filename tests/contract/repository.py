"""Where things are, and how the tools beside this Python are run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICES = ("feature", "ingest", "learner", "scorer")

#: Where `make install` has put the tools.
TOOLS = Path(sys.executable).parent


def run(*command: str | Path, at: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever that is."""
    return subprocess.run([*map(str, command)], cwd=at, capture_output=True, text=True, check=False)


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a program that was to succeed has complained about; empty if it did succeed."""
    return "" if done.returncode == 0 else f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
