"""Type checkers know streams and records: mypy and pyright, in strict mode, find mistakes and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.compiler import load

ROOT = Path(__file__).parents[3]
TYPED, PLAIN = Path(__file__).with_name("typed_loop.py"), Path(__file__).with_name("plain_loop.py")
LOOPS = {"typed": TYPED, "plain": PLAIN, "flights": ROOT / "sdk/src/headrace/demo/loop.py"}

#: Checks the loops of a folder; returns the file and line of each error.
Check = Callable[[Path], set[tuple[str, int]]]


@pytest.fixture(params=["mypy", "pyright"])
def check(request: pytest.FixtureRequest) -> Check:
    if request.param == "pyright":
        return _pyright(shutil.which("pyright") or shutil.which("basedpyright"))
    return _mypy


def _mypy(folder: Path) -> set[tuple[str, int]]:
    # In a process of its own, because mypy raises the interpreter's recursion limit.
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / ".mypy_cache")]
    loops = map(str, folder.glob("*.py"))
    # In the root, for mypy's configuration, which skips the modules of river.
    ended = subprocess.run([*command, *loops], cwd=ROOT, capture_output=True, text=True, check=False)
    report = ended.stdout
    assert ended.stderr == ""
    assert "checked 3 source files" in report or "no issues found in 3 source files" in report
    return {(Path(file).name, int(line)) for file, line in re.findall(r"^(.+?):(\d+): error: ", report, re.MULTILINE)}


def _pyright(command: str | None) -> Check:
    if command is None:
        pytest.skip("neither pyright nor basedpyright is installed")

    def check(folder: Path) -> set[tuple[str, int]]:
        settings = {"include": ["."], "typeCheckingMode": "strict", "reportUnnecessaryTypeIgnoreComment": True}
        (folder / "pyrightconfig.json").write_text(json.dumps(settings))
        arguments = ["--project", str(folder), "--pythonpath", sys.executable, "--outputjson"]
        report = json.loads(subprocess.run([command, *arguments], capture_output=True, check=False).stdout)
        assert report["summary"]["filesAnalyzed"] == len(LOOPS)
        problems = report["generalDiagnostics"]
        return {(Path(problem["file"]).name, problem["range"]["start"]["line"] + 1) for problem in problems}

    return check


@pytest.mark.parametrize("path", [TYPED, PLAIN], ids=["typed", "plain"])
def test_the_loops_for_type_checkers_have_no_mistakes(path: Path) -> None:
    loop = load(path).definition
    assert "answers_until_now" in [feature.name for feature in loop.model("helpful").features]


def test_type_checkers_accept_loops(check: Check, tmp_path: Path) -> None:
    for name, path in LOOPS.items():
        shutil.copy(path, tmp_path / f"{name}.py")
    assert check(tmp_path) == set()


def test_type_checkers_find_each_mistake(check: Check, tmp_path: Path) -> None:
    expected = set()
    for name, path in LOOPS.items():
        lines = path.read_text().splitlines()
        expected |= {(f"{name}.py", number) for number, line in enumerate(lines, 1) if "# type: ignore" in line}
        (tmp_path / f"{name}.py").write_text("\n".join(line.partition("  # type: ignore")[0] for line in lines))
    assert check(tmp_path) == expected
    assert len(expected) > 10
