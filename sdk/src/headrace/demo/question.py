"""A question to the running model: a flight of the day on which the history ends."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from headrace.errors import Unavailable

MODEL = "late_arrival"


def command(event: str, data: Path) -> str:
    """Return the shell command that asks the question."""
    program = "headrace" if shutil.which("headrace") else os.path.relpath(Path(sys.executable).with_name("headrace"))
    return f"{program} {shlex.join(_arguments(event, data))}"


def ask(event: str, data: Path) -> str:
    """Ask the question with that command and return the answer.

    Raises
    ------
    Unavailable
        The model has no answer; the message says why.
    """
    program = [sys.executable, "-m", "headrace.cli", *_arguments(event, data)]
    result = subprocess.run(program, capture_output=True, text=True, timeout=60)
    if result.returncode:
        raise Unavailable(f"the model did not answer: {result.stderr.strip()}")
    return result.stdout.strip()


def _arguments(event: str, data: Path) -> list[str]:
    path = data.relative_to(Path.cwd()) if data.is_relative_to(Path.cwd()) else data
    return ["score", MODEL, "--data", str(path), "--event", event]
