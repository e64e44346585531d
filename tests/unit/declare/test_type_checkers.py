"""Type checkers know streams and records: mypy and pyright, in strict mode, find mistakes and nothing else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mypy import api

from headrace.compiler import load

ROOT = Path(__file__).parents[3]
TYPED, PLAIN = Path(__file__).with_name("typed_loop.py"), Path(__file__).with_name("plain_loop.py")
LOOPS = [TYPED, PLAIN, ROOT / "examples/flights/loop.py"]


@pytest.fixture
def mypy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of mypy's cache, with the configuration of the repository's root."""
    monkeypatch.chdir(ROOT)
    return tmp_path


def errors(cache: Path, *files: Path) -> str:
    report, trouble, _ = api.run(["--no-error-summary", "--cache-dir", str(cache), *map(str, files)])
    return report + trouble


@pytest.mark.parametrize("path", [TYPED, PLAIN], ids=["typed", "plain"])
def test_the_loops_for_type_checkers_have_no_mistakes(path: Path) -> None:
    loop = load(path).definition
    assert "answers_until_now" in [feature.name for feature in loop.model("helpful").features]


def test_mypy_accepts_loops(mypy: Path) -> None:
    assert errors(mypy, *LOOPS) == ""


def test_mypy_finds_each_mistake(mypy: Path, tmp_path: Path) -> None:
    lines = TYPED.read_text().splitlines()
    mistaken = tmp_path / "mistaken.py"
    mistaken.write_text("\n".join(line.partition("  # type: ignore")[0] for line in lines))
    expected = {number for number, line in enumerate(lines, 1) if "# type: ignore" in line}
    found = [line for line in errors(mypy, mistaken).splitlines() if ": error: " in line]
    assert {int(line.split(":")[1]) for line in found} == expected
    assert len(expected) == 11


def test_pyright_accepts_loops(tmp_path: Path) -> None:
    pyright = shutil.which("pyright") or shutil.which("basedpyright")
    if pyright is None:
        pytest.skip("there is no pyright")
    settings = {
        "include": [str(path) for path in LOOPS],
        "typeCheckingMode": "strict",
        "reportUnnecessaryTypeIgnoreComment": True,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [pyright, "--project", str(tmp_path), "--pythonpath", sys.executable]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stdout.splitlines()[-1] == "0 errors, 0 warnings, 0 informations", run.stdout
