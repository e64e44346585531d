"""A user's own table: its page runs as written, and the model learns what the table says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import compiler, embedded
from tests.contract.pages import blocks, commands, python_blocks
from tests.contract.repository import ROOT
from tests.deadline import until

PAGE = ROOT / "docs" / "your-own-table.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the page's table and what `init` wrote for it."""
    directory = tmp_path_factory.mktemp("own")
    [table] = [block.text for block in blocks(PAGE) if block.language == "csv"]
    (directory / "trips.csv").write_text(table)
    [init] = [words for words in commands(PAGE, "headrace") if words == ["init", "trips.csv"]]
    output = headrace(directory, init)
    assert "headrace play trips.csv" in output
    return directory


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[embedded.RunningLoop]:
    with embedded.run(folder / "trips.py", data=folder / ".headrace" / "trips") as loop:
        yield loop


def test_init_writes_what_the_page_shows(folder: Path) -> None:
    shown = next(block.text for block in blocks(PAGE) if block.language == "text")
    assert shown in (folder / "trips.py").read_text()


def test_a_table_is_learned_as_the_page_says(folder: Path, running: embedded.RunningLoop) -> None:
    text = PAGE.read_text()
    (examples,) = map(int, re.findall(r"has learned (\d+) examples", text))
    (repeat,) = re.findall(r"the second is `(.*?)`", text)
    played = headrace(folder, ["play", "trips.csv"])
    assert f"{examples} accepted, {repeat}, 0 rejected" in played
    until(
        lambda: [status.versions for status in running.status() if status.service == "scorer"],
        lambda found: found == [{"trips_fare": examples}],
        60,
    )
    for words in commands(PAGE, "headrace"):
        if words[0] in ("models", "score"):
            assert "trips_fare" in headrace(folder, words)
    # The log holds what the rows make, each answer at the time in its `dropoff`.
    assert "no difference" in headrace(folder, ["replay", "--diff"])
    assert f"0 accepted, {examples + 1} sent before" in headrace(folder, ["play", "trips.csv"])


def test_a_view_of_outcomes_is_a_stream_of_its_own(folder: Path) -> None:
    [fares] = python_blocks(PAGE)
    text = (folder / "trips.py").read_text()
    (folder / "both.py").write_text(
        text.replace("Model(\n", f"{fares.text}\nModel(\n").replace("    history,", "    history, fares,")
    )
    loop = compiler.load(folder / "both.py").definition
    assert "fares.mean.1h" in [feature.name for feature in loop.models[0].features]
    (folder / "leak.py").write_text(text.replace('"km": Mean("km")', '"fare": Mean("fare")'))
    done = run(folder, ["check", "leak.py"])
    assert "view history leaks label outcome: it is made of 'fare', known only later" in done.stderr


def headrace(folder: Path, words: list[str]) -> str:
    done = run(folder, words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run(folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headrace.cli", *words]
    environment = {name: value for name, value in os.environ.items() if name != "HEADRACE_DATA"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
