"""A question to the running model: a flight of the day on which the history ends."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from headrace.demo.dataset import ASKED_BEFORE
from headrace.demo.samples import MODEL
from headrace.errors import Unavailable

_FIELDS = ("carrier", "number", "origin", "dest", "tail", "distance")


def question(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return the JSON of a flight that would be announced just after the newest event of all."""
    flights = tables["scheduled"]
    flight = flights[flights["tail"].notna()].iloc[-1]
    newest = max(events["at"].max() for events in tables.values() if len(events))
    at = newest + pd.Timedelta(seconds=1)
    clock = (at + ASKED_BEFORE).tz_convert("America/New_York").tz_localize(None)
    event = {"at": at.isoformat(), "clock": clock.isoformat(), **{name: flight[name] for name in _FIELDS}}
    return json.dumps(event)


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
