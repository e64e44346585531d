"""Every service is killed while events flow; the model is the same as without kills."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

from headrace import embedded
from headrace.errors import Unavailable
from tests.brokers import Runs
from tests.deadline import until
from tests.e2e.datasets import load, loop_file
from tests.e2e.learning import bare, learned, send, slices, stored_state

VICTIMS = ("feature", "learner", "scorer", "ingest", "feature", "learner")


def kill(running: embedded.RunningLoop, service: str) -> None:
    """Kill with SIGKILL, which leaves no time to save anything."""
    os.kill(running.pids[f"{service}-0"], signal.SIGKILL)


def send_surely(running: embedded.RunningLoop, parts: Sequence[tuple[list[bytes], list[bytes]]], final: bool) -> None:
    """Send as a client does that lost its answer: the same again, to the process that serves now."""

    def attempt() -> bool:
        address = running.addresses.get("ingest")
        try:
            return address is not None and send(address, parts, final) >= 0
        except Unavailable:
            return False

    until(attempt, seconds=60)


def test_kill_9_of_each_service_changes_no_bit(tmp_path: Path, runs: Runs) -> None:
    data = load("Bananas")
    file = tmp_path / "loop.py"
    file.write_text(loop_file(data))
    parts = list(slices(data, size=len(data.rows) // len(VICTIMS)))
    with embedded.run(file, data=tmp_path / "data", **runs.options) as running:
        for place, part in enumerate(parts):
            send_surely(running, [part], final=place == len(parts) - 1)
            if place < len(VICTIMS):
                kill(running, VICTIMS[place])
            if place % 2:
                # A resend of accepted events: each event still counts once.
                send_surely(running, [part], final=place == len(parts) - 1)
        accuracies = learned(running, data)
    for model in ("linear", "tree"):
        accuracy, state = bare(model, data)
        assert accuracies[model] == accuracy
        assert stored_state(file, tmp_path / "data", model) == state


def test_a_loop_goes_on_from_its_data_directory(tmp_path: Path) -> None:
    data = load("Phishing")
    file = tmp_path / "loop.py"
    file.write_text(loop_file(data))
    parts = list(slices(data, size=300))
    for half, final in ((parts[:2], False), (parts[2:], True)):
        with embedded.run(file, data=tmp_path / "data") as running:
            assert send(running.addresses["ingest"], half, final) == 0
            if final:
                accuracies = learned(running, data)
    for model in ("linear", "tree"):
        accuracy, state = bare(model, data)
        assert accuracies[model] == accuracy
        assert stored_state(file, tmp_path / "data", model) == state
