"""The script that runs the broker's container: it ends a broker that has lost its bookie, and forwards signals."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.repository import ROOT
from tests.deadline import until

LOST = "Bookie pulsar:3181 deleted. path: /ledgers/available/pulsar:3181"

# Prints the line `count` times, then waits for a signal; its last line shows that the signal arrived.
_PULSAR = """#!/bin/sh
trap 'echo "$1 stopped"; exit 143' TERM
for _ in $(seq {count}); do echo '{line}'; done
echo up
while :; do sleep 0.1; done
"""

Start = Callable[[int], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Return a function that runs the script on a fake broker, which reports the loss of its bookie `count` times."""

    def run(count: int) -> subprocess.Popen[str]:
        (tmp_path / "bin").mkdir()
        programs = {"pulsar": _PULSAR.format(count=count, line=LOST), "apply-config-from-env.py": "#!/bin/sh\n"}
        for name, text in programs.items():
            program = tmp_path / "bin" / name
            program.write_text(text)
            program.chmod(0o755)
        with (tmp_path / "log").open("w") as log:
            return subprocess.Popen(["sh", ROOT / "deploy" / "pulsar.sh"], cwd=tmp_path, stdout=log, text=True)

    return run


def test_a_broker_that_lost_its_bookie_is_stopped(start: Start, tmp_path: Path) -> None:
    assert start(4).wait(60) == 143
    output = (tmp_path / "log").read_text()
    assert "bookie_lost" in output
    assert output.count(LOST) == 4
    assert "standalone stopped" in output


def test_a_broker_that_keeps_its_bookie_runs_until_a_stop(start: Start, tmp_path: Path) -> None:
    process = start(3)
    until(lambda: "up" in (tmp_path / "log").read_text().split())
    assert process.poll() is None
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) == 143
    assert "bookie_lost" not in (tmp_path / "log").read_text()
