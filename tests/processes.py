"""Programs that tests run to their end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def output(*command: str | Path, at: Path | None = None) -> str:
    """Return what a program printed; fail with what it reported if it failed."""
    done = subprocess.run([*map(str, command)], cwd=at, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout


def python_output(text: str) -> str:
    """Return what a Python program printed."""
    return output(sys.executable, "-c", text)
