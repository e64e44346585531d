"""Command output contains no control sequences for the terminal, and no fault of a display ends a command."""

from __future__ import annotations

import ast
import io
import json
import time
from pathlib import Path

import pytest
import redis
from rich.console import Console

import headrace.cli
from headrace.cli import board
from headrace.cli.display_guard import Guard
from headrace.cli.error_text import explain_failure
from headrace.cli.output import say, say_bytes, say_line
from headrace.cli.program import run
from headrace.errors import HeadraceError, Unavailable
from headrace.runtime.redis.status import JoinStatus, PartitionStatus, ServiceStatus, StoppedModel, TakeoverStatus
from tests.support.odd_times import ODD_TIMES

HOSTILE = "\x1b[2J\x9b31m\u202e[/red][bold]x\n\x07"
_OBEYED = "\x1b\x9b\u202e\x07"


def test_text_of_others_is_written_visibly(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    say_line(HOSTILE, err=True)
    say_bytes(b"as it is\x1b")
    written = capsys.readouterr()
    assert written.out == "\\u001b[2J\\u009b31m\\u202e[/red][bold]x\n\\u0007\nas it is\x1b"
    assert written.err.count("\n") == 1


def test_commands_write_by_these_functions_alone() -> None:
    folder = Path(headrace.cli.__file__).parent
    for file in folder.rglob("*.py"):
        if file.name == "output.py":
            continue
        calls = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        names = {ast.unparse(call) for call in calls}
        assert not names & {"click.echo", "click.secho", "print", "sys.stdout.write", "sys.stderr.write"}, file


def test_an_exception_with_controls_is_one_visible_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(path: Path) -> None:
        raise ZeroDivisionError("\x1b[2J\u202e")

    monkeypatch.setattr("headrace.compiler.load", fail)
    assert run(["check", str(tmp_path)]) == 1
    assert "\\u001b[2J\\u202e" in capsys.readouterr().err
    assert run(["\x1b[2Jfrob"]) == 2
    assert "'\\u001b[2Jfrob'" in capsys.readouterr().err


def test_a_misspelt_command_names_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["statsu"]) == 2
    assert "No such command 'statsu'. Did you mean 'status'?" in capsys.readouterr().err


@pytest.mark.parametrize("error", [redis.ConnectionError("gone"), redis.TimeoutError("slow"), ConnectionError("cut")])
def test_a_client_that_loses_its_server_is_no_fault_of_headrace(error: Exception) -> None:
    text, code = explain_failure(error)
    assert code == 3
    assert "does not answer" in text


def odd(when: int) -> ServiceStatus:
    """Return a status whose times and texts are as odd as possible."""
    return ServiceStatus(
        service="feature",
        instance=HOSTILE,
        state=HOSTILE,
        note=HOSTILE,
        address=HOSTILE,
        updated_at=time.time(),
        watermark=when,
        newest=when,
        lag_s=abs(when) / 1e6,
        counters={HOSTILE: 1, "late": 1},
        versions={HOSTILE: 1},
        metrics={HOSTILE: {HOSTILE: 1e300, "scored": 1.0, "log_loss": None}},
        partitions={HOSTILE: PartitionStatus(owned=True, watermark=when, waiting=1, oldest_s=1e18)},
        held_by=HOSTILE,
        joins={
            HOSTILE: JoinStatus(
                waiting_questions=1,
                waiting_labels=1,
                question_bytes=9,
                label_bytes=1,
                bound_bytes=1,
                held_by=HOSTILE,
                watermark=when,
                since=-1e18,
            )
        },
        takeovers={HOSTILE: TakeoverStatus(answering=HOSTILE, learned=1, needed=2)},
        stopped={HOSTILE: StoppedModel(id=HOSTILE, entry=1, question=0, position="0:0:0", reason=HOSTILE)},
    )


@pytest.mark.parametrize("when", ODD_TIMES)
def test_no_status_fails_a_display_or_reaches_the_terminal_raw(when: int) -> None:
    statuses = board.complete([odd(when)])
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    console.print(board.as_table("loop", statuses, [HOSTILE]))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue() + "".join(board.as_lines(statuses, [HOSTILE]))
    assert not set(shown) & set(_OBEYED)
    assert "144169" not in shown
    assert "[/red][bold]x" in shown
    text = board.as_json("loop", statuses, [HOSTILE])
    assert text.isascii()
    assert json.loads(text)["problems"] == [HOSTILE]


def test_a_fault_of_a_display_is_said_once_and_goes_no_further() -> None:
    lines: list[str] = []
    guard = Guard(lines.append)

    def fail(error: Exception) -> None:
        raise error

    for error in (ValueError("year -144169 is out of range"),) * 2 + (Unavailable("the store is away"),) * 2:
        assert not guard(lambda error=error: fail(error))  # type: ignore[misc]
    assert guard(lambda: None)
    assert not guard(lambda: fail(HeadraceError("the store is away")))
    assert lines == [
        "cannot be shown at the moment: ValueError: year -144169 is out of range",
        "the store is away",
        "the store is away",
    ]


def test_one_that_cannot_be_told_either_is_passed_over() -> None:
    def closed(text: str) -> None:
        raise BrokenPipeError

    assert not Guard(closed)(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
