"""`headrace check` and `headrace compile`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace import compiler
from headrace.cli.examples import example_command, example_event
from headrace.cli.program import run
from headrace.engine.learning.compiled import learner
from headrace.wire import compiled_loop

_LOOP = """
from datetime import datetime

from river.linear_model import LogisticRegression

from headrace import Label, Mean, Model, Stream, View, col

class Paid(Stream, key="card", time="at", id="payment"):
    payment: str
    at: datetime
    card: str
    shop: str
    amount: float
    online: bool

class Disputed(Stream, key="payment", time="at", id="payment"):
    payment: str
    at: datetime
    fraud: bool

spent = View(Paid, by="card", windows=["1h"], aggregates={"mean": Mean("amount")})
fraud = Label(Disputed, of=Paid, value=col("fraud"), within="48h")
model = Model("fraudulent", on=Paid, label=fraud, features=[spent, Paid.online, Paid.at.hour],
              learner=lambda: LogisticRegression())
"""


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    file = tmp_path / "payments.py"
    file.write_text(_LOOP)
    return file


def test_check_explains(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(loop)]) == 0
    output = capsys.readouterr().out
    assert output == compiler.explain(compiler.load(loop))
    assert re.search("^  learned +by compiled code$", output, re.MULTILINE)


def test_check_says_why_river_learns(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop.write_text(
        _LOOP.replace(
            "from river.linear_model import LogisticRegression",
            "from river.tree import HoeffdingTreeClassifier as LogisticRegression",
        )
    )
    assert run(["check", str(loop)]) == 0
    pattern = "^  learned +by River: HoeffdingTreeClassifier has no compiled form$"
    assert re.search(pattern, capsys.readouterr().out, re.MULTILINE)


def test_check_says_that_this_machine_cannot(
    loop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "addresses", lambda: None)
    assert run(["check", str(loop)]) == 0
    pattern = "^  learned +by River: The C library of this process does not name its functions$"
    assert re.search(pattern, capsys.readouterr().out, re.MULTILINE)


def test_check_names_the_mistakes(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop.write_text(_LOOP.replace('Mean("amount")', 'Mean("amuont")').replace('"48h"', '"2 moons"'))
    assert run(["check", str(loop)]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert "amuont" in written.err
    assert "2 moons" in written.err
    assert written.err.endswith("headrace: 2 mistakes\n")


def test_compile_writes_what_services_read(loop: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    compiled = loop.with_suffix(".json")
    assert run(["compile", str(loop), "-o", str(compiled)]) == 0
    assert compiled_loop.decode(compiled.read_bytes()) == compiler.load(loop).definition
    assert run(["compile", str(loop)]) == 0
    assert capsysbinary.readouterr().out == compiled.read_bytes()


def test_compile_into_nowhere_is_said(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compile", str(loop), "-o", str(loop / "x.json")]) == 2
    assert capsys.readouterr().err == f"headrace: Not a directory: {loop / 'x.json'}\n"


def test_the_example_event_has_what_features_and_keys_need(loop: Path) -> None:
    compiled = compiler.load(loop).definition
    event = example_event(compiled, compiled.models[0])
    assert event == {"at": "2026-01-31T12:00:00Z", "card": "A", "online": True}
    assert example_command(compiled).startswith('headrace score fraudulent --loop payments --event \'{"at"')
