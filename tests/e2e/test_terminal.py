"""Every command with a display, in a terminal: README's loop, before and after its first event, and one without models.

The screen never shows a traceback, and each command ends as its help says.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from headrace.runtime.redis.status import JoinStatus, PartitionStatus, ServiceStatus, StatusBoard
from tests.contract.pages import blocks, python_blocks
from tests.contract.repository import ROOT
from tests.deadline import until
from tests.terminal import Terminal

README = ROOT / "README.md"
HOUR = 3_600_000_000

#: Hostile text that would control a terminal: a title, a cleared screen, another order of letters.
HOSTILE = "\x1b]0;owned\x07\x1b[3J\u202e"

_FAULTS = ("Traceback", "a fault of headrace", "is out of range", "a thread ended")

_STREAM_ALONE = """
from datetime import datetime
from headrace import Stream

class Visit(Stream, key="page", time="at", id="visit"):
    visit: str
    at: datetime
    page: str
"""


class Up:
    """A loop that runs in a terminal, as commands in the same folder see it."""

    def __init__(self, terminal: Terminal, folder: Path, loop: str) -> None:
        self.terminal = terminal
        self.folder = folder
        self.loop = loop

    @property
    def data(self) -> Path:
        return self.folder / ".headrace" / self.loop

    def told(self) -> dict[str, Any]:
        """Return the contents of its `up.json`."""
        found: dict[str, Any] = json.loads((self.data / "up.json").read_bytes())["body"]
        return found

    def run(self, *words: str, code: int = 0, pause: float = 0.0, shows: str = "", by: int | None = None) -> str:
        """Run a command in its own terminal, and watch both for a while; return what it wrote."""
        with Terminal([*words], self.folder) as command:
            command.until(lambda text: shows in text)
            if pause:
                command.pause(pause)
                self.terminal.pause(0.1)
            assert command.end(by) == code, command.text
        _check(command.written)
        self.still_runs()
        return command.text

    def still_runs(self) -> None:
        self.terminal.pause(0.05)
        assert self.terminal.process.poll() is None, self.terminal.text[-3_000:]
        _check(self.terminal.written)


def _check(written: str) -> None:
    """Check that no screen shows a traceback or a fault, or obeys foreign control codes."""
    for wrong in (*_FAULTS, "\x1b]0;", "\x1b[3J", "\u202e"):
        assert wrong not in written, written[-4_000:]


def _up(folder: Path, file: str, loop: str) -> Iterator[Up]:
    with Terminal(["up", file], folder) as terminal:
        terminal.until(lambda text: "Ctrl-C stops it." in text, 180)
        yield Up(terminal, folder, loop)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("terminal")
    (folder / "payments.py").write_text(python_blocks(README)[0].text)
    payments, outcomes = [block.text for block in blocks(README) if block.language == "csv"]
    (folder / "payments.csv").write_text(payments)
    (folder / "outcomes.csv").write_text(outcomes)
    yield from _up(folder, "payments.py", "payments")


def test_the_start_prints_a_question_with_a_time(up: Up) -> None:
    assert '--event \'{"at": "20' in up.terminal.text


def test_a_loop_without_events_is_shown(up: Up) -> None:
    assert "payment" in up.run("status")
    up.run("status", "--watch", shows="loop payments", pause=2.5, by=signal.SIGINT, code=130)
    assert "the store has lost nothing of payments; use --again" in up.run("backfill", code=4)
    assert "0 vectors" in up.run("replay", "--diff")


def test_events_are_played_and_sent(up: Up) -> None:
    assert "8 accepted, 0 rejected" in up.run("play", "payment=payments.csv", "outcome=outcomes.csv", pause=1)
    assert "4 sent before" in up.run("send", "payment", "payments.csv")
    assert "Did you mean 'payment'?" in up.run("send", "paymnet", "payments.csv", code=4)
    up.terminal.until(lambda text: "fraudulent   learner-0" in text, 120)


def test_a_loop_that_has_learned_is_shown(up: Up) -> None:
    assert "fraudulent" in up.run("status", pause=1)
    assert "no difference" in up.run("replay", "--diff")
    assert "made again" in up.run("backfill", "--again")


def _again(board: StatusBoard, odd: ServiceStatus) -> bool:
    board.write(odd)
    return True


@pytest.mark.parametrize("when", [-(2**62) + HOUR, 253_402_300_800_000_000 + HOUR])
def test_a_time_that_no_calendar_has_ends_no_display(up: Up, when: int) -> None:
    join = JoinStatus(
        waiting_questions=1,
        waiting_labels=0,
        question_bytes=0,
        label_bytes=0,
        bound_bytes=1,
        held_by="outcome-0",
        watermark=when,
        since=time.time(),
    )
    odd = ServiceStatus(
        service="feature",
        instance=f"odd{HOSTILE}",
        state="ready",
        note=f"[/red]{HOSTILE}",
        watermark=when,
        newest=when,
        partitions={"payment-1": PartitionStatus(owned=True, watermark=when)},
        joins={"odd": join},
    )
    with redis.Redis.from_url(up.told()["redis"]) as store:
        board = StatusBoard(store, "payments")
        board.write(odd)
        try:
            with Terminal(["status", "--watch"], up.folder) as watch:
                # A status lives for ten seconds, and a busy machine may need more to start a command.
                watch.until(lambda text: _again(board, odd) and "odd" in text)
                assert watch.end(signal.SIGINT) == 130
            _check(watch.written)
            up.terminal.until(lambda text: _again(board, odd) and "odd\\u001b]0;owned" in text)
            up.still_runs()
        finally:
            board.remove(odd)


@pytest.mark.parametrize("server", ["store", "broker"])
def test_a_killed_server_is_noticed_and_started_on_its_data(up: Up, server: str) -> None:
    os.kill(up.told()["pids"][server], signal.SIGKILL)
    up.terminal.until(lambda text: f"the {server} was killed by signal 9; starting it again on the same data" in text)
    up.terminal.until(lambda text: f"the {server} runs again" in text)
    until(lambda: up.run("status"), lambda text: "does not answer" not in text and "cannot reach" not in text, 60)
    assert "sent before" in up.run("play", "payment=payments.csv", "outcome=outcomes.csv")


def test_state_is_its_owners_alone(up: Up) -> None:
    for path in (up.data, *up.data.rglob("*")):
        if not path.is_symlink():
            assert not path.stat().st_mode & 0o077, path


def test_the_logs_of_services_are_json_lines(up: Up) -> None:
    for service in ("ingest", "feature", "learner", "scorer"):
        for line in (up.data / "logs" / f"{service}.log").read_text().splitlines():
            assert json.loads(line)["event"], line


def test_ctrl_c_stops_it_and_a_play_under_way_says_why_it_ends(up: Up) -> None:
    rows = "".join(f"Q{number},2026-01-0{1 + number % 9}T00:00:00Z,C1,1\n" for number in range(2_000))
    (up.folder / "many.csv").write_text(f"payment,at,card,amount\n{rows}")
    with (
        Terminal(["play", "payment=many.csv", "--speed", "1"], up.folder) as play,
        Terminal(["status", "--watch"], up.folder) as watch,
    ):
        play.until(lambda text: "events" in text)
        watch.until(lambda text: "loop payments" in text)
        assert up.terminal.end(signal.SIGINT) == 0
        assert "loop stopped; `headrace up payments.py` goes on from where it is" in up.terminal.text
        assert play.end() == 3
        watch.until(lambda text: "does not answer" in text)
        assert watch.end(signal.SIGINT) == 130
    for terminal in (up.terminal, play, watch):
        _check(terminal.written)


def test_a_loop_without_models_whose_data_is_removed_says_so_and_ends(tmp_path: Path) -> None:
    (tmp_path / "visits.py").write_text(_STREAM_ALONE)
    for up in _up(tmp_path, "visits.py", "visits"):
        assert "ask it" not in up.terminal.text
        assert "visit" in up.run("status")
        shutil.rmtree(tmp_path / ".headrace")
        assert up.terminal.end() == 3
        assert f"the data directory {up.data} was removed while the loop ran" in up.terminal.text
        _check(up.terminal.written)
        assert not (tmp_path / ".headrace").exists()
