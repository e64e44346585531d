"""The demo as a newcomer runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

EVENTS = 20_000


def test_the_demo_shows_its_first_prediction_and_its_figures(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "headrace.cli", "demo", "--events", str(EVENTS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("first prediction, ")]
    figures = json.loads(lines[-1])
    assert (figures["events"], figures["dead_letters"]) == (EVENTS, 0)
    assert figures["predictions"] > 0
    assert Path(figures["report"]).is_file()
    assert done.stderr.startswith("starting a broker, a store and four services")
    assert "see `--events 100000` or more" in done.stderr
