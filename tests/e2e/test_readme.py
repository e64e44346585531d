"""The README's loop runs: its blocks are the files, and its commands are typed as written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from headrace import embedded
from tests.contract.pages import blocks, commands, python_blocks
from tests.contract.repository import ROOT
from tests.deadline import until

PAGE = ROOT / "README.md"


def test_a_loop_of_ones_own_runs(tmp_path: Path) -> None:
    loop, ask = python_blocks(PAGE)
    payments, outcomes = (block.text for block in blocks(PAGE) if block.language == "csv")
    for name, text in {"payments.py": loop.text, "payments.csv": payments, "outcomes.csv": outcomes}.items():
        (tmp_path / name).write_text(text)
    check, up, play, score = commands(PAGE, "headrace")
    assert "model fraudulent" in _headrace(tmp_path, check)
    assert up == ["up", "payments.py"]
    with embedded.run(tmp_path / "payments.py", data=tmp_path / ".headrace" / "payments") as running:
        assert "8 accepted, 0 rejected" in _headrace(tmp_path, play)
        until(lambda: [status.versions for status in running.status() if status.service == "scorer"], _has_learned, 60)
        output = _headrace(tmp_path, score)
        program = ask.text.replace("127.0.0.1:7070", running.addresses["scorer"])
        asked = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "fraudulent after 4 examples" in output
    assert f"score    {float(asked.stdout):.6g}" in output
    assert "spending.mean.7d   501.25" in output


def _has_learned(versions: list[dict[str, int]]) -> bool:
    return versions == [{"fraudulent": 4}]


def _headrace(folder: Path, words: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "headrace.cli", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
