"""The pages on sending events and asking for scores work as written, against a running loop."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import embedded
from headrace.client import IngestClient
from tests.contract.pages import Block, blocks, commands, python_blocks
from tests.contract.repository import ROOT
from tests.deadline import until

SEND = ROOT / "docs" / "send-events.md"
ADOPT = ROOT / "docs" / "history-then-live.md"
ASK = ROOT / "docs" / "ask-for-scores.md"

MINUTE = 60_000_000
NEWYEAR = 1_356_998_400_000_000

# The parts that the page's stream lacks to be a loop, and a model that answers the page's question.
MODEL = """
from datetime import datetime
from river.linear_model import LogisticRegression
from river.preprocessing import StandardScaler
from headrace import Label, Mean, Model, Stream, View, col

class Scheduled(Stream, key="carrier", time="at", id="flight"):
    flight: str
    at: datetime
    carrier: str
    distance: float

late = Label({stream}, of=Scheduled, value=col("delay_min") > 15, within="48h")
habit = View({stream}, by="{by}", windows=["3h"], aggregates={{"mean_delay": Mean("delay_min")}})

Model(
    "late_arrival",
    on=Scheduled,
    label=late,
    features=[habit{of}, Scheduled.distance],
    learner=lambda: StandardScaler() | LogisticRegression(),
    publish_every=10,
)
"""

ARRIVED = """
from datetime import datetime
from headrace import Stream

class Arrived(Stream, key="carrier", time="at", id="flight"):
    flight: str
    at: datetime
    carrier: str
    delay_min: float
"""


@pytest.fixture(scope="module")
def sending(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.RunningLoop]:
    """Yield the loop of the page on sending: its own stream, and a model."""
    folder = tmp_path_factory.mktemp("sending")
    file = folder / "flights.py"
    file.write_text(python_blocks(SEND)[0].text + MODEL.format(stream="Departed", by="tail", of='.of(tail="carrier")'))
    with embedded.run(file, data=folder / "data") as running:
        yield running


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.RunningLoop]:
    """Yield a loop whose model has learned a little."""
    folder = tmp_path_factory.mktemp("asking")
    file = folder / "flights.py"
    file.write_text(ARRIVED + MODEL.format(stream="Arrived", by="carrier", of=""))
    with embedded.run(file, data=folder / "data") as running:
        with IngestClient(running.addresses["ingest"]) as client, client.stream() as stream:
            stream.send("scheduled", [_event(number, distance=1400.0) for number in range(30)])
            stream.send("arrived", [_event(number, 300, delay_min=float(number % 40)) for number in range(30)])
            for name in ("scheduled", "arrived"):
                stream.send(name, [], end=True)
            assert stream.finish().rejected == 0
        until(lambda: [status.versions for status in running.status() if status.service == "scorer"], _has_learned, 60)
        yield running


def test_a_file_is_sent_as_the_page_shows(sending: embedded.RunningLoop) -> None:
    csv, shown = _block(SEND, "csv"), _block(SEND, "text")
    (sending.data / "departed.csv").write_text(csv.text)
    [call] = [words for words in commands(SEND, "headrace") if words == ["send", "departed", "departed.csv"]]
    done = _headrace(sending, *call)
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines()]
    assert [line for line in shown.text.splitlines() if line not in lines] == []


def test_programs_send_events_as_the_page_shows(sending: embedded.RunningLoop) -> None:
    output = _python(SEND, python_blocks(SEND)[1:], sending)
    assert "29 accepted, 0 rejected" in output
    assert 'delay_min "late" a finite number' in output


def test_live_events_follow_history_as_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "payments.py").write_text(python_blocks(ROOT / "README.md")[0].text)
    history, live = python_blocks(ADOPT)
    with embedded.run(tmp_path / "payments.py", data=tmp_path / "data") as running:
        subprocess.run([sys.executable, "-c", history.text], cwd=running.data, check=True)
        [play] = [words for words in commands(ADOPT, "headrace") if words[0] == "play"]
        assert _headrace(running, *play).returncode == 0
        output = _python(ADOPT, [live], running, running.data)
        for line in output.splitlines():
            assert re.fullmatch(r"(payment|outcome) 0 accepted, 2[78]\d repeats, 0 rejected", line)
        [mark] = [words for words in commands(ADOPT, "headrace") if words[0] == "mark"]
        assert _headrace(running, *mark).returncode == 0
        until(lambda: _examples(running), lambda found: 2_867 <= found <= 2_871, 60)


def test_a_program_asks_as_the_page_shows(asking: embedded.RunningLoop) -> None:
    # The page explains why these do not share a process.
    triton = [block for block in python_blocks(ASK) if "tritonclient" in block.text]
    output = _python(ASK, [block for block in python_blocks(ASK) if block not in triton], asking)
    assert "from 30 examples" in output
    assert "late_arrival binary 30" in output
    assert len(_python(ASK, triton, asking).split()) >= 2


def test_the_command_line_asks_as_the_page_shows(asking: embedded.RunningLoop) -> None:
    [call, *_] = [words for words in commands(ASK, "headrace") if words[:1] == ["score"] and "--event" in words]
    done = _headrace(asking, *call)
    assert done.returncode == 0, done.stderr
    assert "late_arrival" in done.stdout


def _event(number: int, minutes: int = 0, **fields: float) -> bytes:
    at = NEWYEAR + (number + minutes) * MINUTE
    return json.dumps({"flight": f"UA{number}", "at": at, "carrier": "UA", **fields}).encode()


def _has_learned(versions: list[dict[str, int]]) -> bool:
    return bool(versions) and versions[0].get("late_arrival") == 30


def _examples(running: embedded.RunningLoop) -> float:
    counts = [metrics.get("examples", 0.0) for status in running.status() for metrics in status.metrics.values()]
    return max(counts, default=0.0)


def _block(page: Path, language: str) -> Block:
    return next(block for block in blocks(page) if block.language == language)


def _python(page: Path, parts: list[Block], running: embedded.RunningLoop, where: Path | None = None) -> str:
    """Run the blocks in order in one process, at the addresses of this loop; return what they print."""
    text = "\n".join(block.text for block in parts)
    for shown, address in {
        "127.0.0.1:8000": running.addresses["ingest"],
        "localhost:7070": running.addresses["scorer"],
        "pulsar://127.0.0.1:6650": running.pulsar_url,
    }.items():
        text = text.replace(shown, address)
    done = subprocess.run([sys.executable, "-c", text], cwd=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{page}: {done.stderr}"
    return done.stdout


def _headrace(running: embedded.RunningLoop, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HEADRACE_DATA": str(running.data)}
    return subprocess.run(
        [sys.executable, "-m", "headrace.cli", *words],
        cwd=running.data,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
