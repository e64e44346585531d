"""The program as a whole: help, exit codes, and what it does not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from headrace import cli, errors
from headrace.cli import program
from headrace.cli.error_text import Refused, explain_failure

_COMMANDS = (
    "demo",
    "init",
    "check",
    "compile",
    "up",
    "apply",
    "status",
    "send",
    "play",
    "mark",
    "score",
    "models",
    "replay",
    "skip",
    "backfill",
    "dead-letters",
)


def commands() -> dict[str, click.Command]:
    """Return all commands by the words that call them, including those inside a group."""
    context = click.Context(program.headrace, info_name="headrace")
    found = {}
    for name in program.headrace.list_commands(context):
        command = program.headrace.get_command(context, name)
        assert command is not None
        found[f"headrace {name}"] = command
        if isinstance(command, click.Group):
            found |= {f"headrace {name} {inner}": subcommand for inner, subcommand in command.commands.items()}
    return found


def test_all_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run(["--help"]) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.partition("Commands:\n")[2].splitlines()[: len(_COMMANDS)]] == list(
        _COMMANDS
    )


def test_every_help_has_an_example_of_its_command() -> None:
    for call, command in commands().items():
        assert command.help is not None, call
        _, heading, examples = command.help.partition("Example")
        assert heading, call
        assert f"  {call}" in examples, call


def test_help_loads_nothing_heavy() -> None:
    heavy = ("pulsar", "redis", "grpc", "numpy", "numba", "river", "onnx", "pyarrow", "rich", "structlog", "pydantic")
    code = f"""
import sys
from headrace.cli.program import run
run(["--help"])
print(*(name for name in {heavy} if name in sys.modules), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (errors.DefinitionError("view v", "no stream", "Name one"), 2, "headrace: view v: no stream. Name one"),
        (errors.UnsupportedLearner("KNN", ("LR",)), 2, "headrace: KNN has no ONNX converter; supported: LR"),
        (errors.Unavailable("no broker"), 3, "headrace: no broker"),
        (errors.Overloaded("full"), 3, "headrace: full"),
        (errors.InvalidEvent("x", "1", "a string"), 4, "headrace: field 'x' is 1, expected a string"),
        (errors.UnknownName("stream", "s", ("t",)), 4, "headrace: stream is 's', expected one of t"),
        (errors.CorruptState("checksum"), 1, "headrace: checksum"),
        (Refused("not now", 3), 3, "headrace: not now"),
        (errors.Implausible("m", 3, "NaN"), 5, "headrace: model 'm': version 3 has no answer for this vector: NaN"),
        (
            errors.MissingExtra("x", "y", "z"),
            2,
            'headrace: x needs the module y, which is not installed: pip install "headrace[z]"',
        ),
        (FileNotFoundError(2, "No such file", "x.csv"), 2, "headrace: No such file: x.csv"),
        (click.UsageError("what?"), 2, "headrace: what?"),
        (KeyboardInterrupt(), 130, "headrace: interrupted"),
        (click.Abort(), 130, "headrace: interrupted"),
        (SystemExit(7), 7, ""),
    ],
)
def test_each_failure_has_its_line_and_code(error: BaseException, code: int, text: str) -> None:
    assert explain_failure(error) == (text, code)


def test_no_model_yet_has_a_code_of_its_own() -> None:
    assert explain_failure(errors.NoModelYet("m"))[1] == 5


def test_all_mistakes_are_said_and_counted() -> None:
    one, two = (errors.DefinitionError(part, "wrong", "Fix it") for part in ("view a", "view b"))
    text, code = explain_failure(errors.DefinitionErrors((one, two)))
    assert (text.splitlines(), code) == (
        ["view a: wrong. Fix it", "view b: wrong. Fix it", "headrace: 2 mistakes"],
        2,
    )


def test_a_fault_is_a_line_and_on_request_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(path: Path) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("headrace.compiler.load", fail)
    assert program.run(["check", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        "headrace: a fault of headrace itself: ZeroDivisionError: by zero (HEADRACE_DEBUG=1 shows where)\n"
    )
    monkeypatch.setenv("HEADRACE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        program.run(["check", str(tmp_path)])


@pytest.mark.parametrize(
    "arguments",
    [
        ["frob"],
        ["check"],
        ["check", "--frob"],
        ["score", "m"],
        ["score", "m", "--event", "{"],
        ["replay", "--from", "yesterday"],
        ["replay", "--without", "departed"],
        ["replay", "--events", "departed=nowhere.csv"],
        ["dead-letters", "frob"],
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert program.run(arguments) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("headrace: ")
    assert written.err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "usage"), [([], "headrace"), (["dead-letters"], "headrace dead-letters")])
def test_a_group_alone_is_told_its_commands(
    arguments: list[str], usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.run(arguments) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"Usage: {usage} [OPTIONS] COMMAND")
    assert "(see " not in errors


def test_a_closed_pipe_is_no_news() -> None:
    done = subprocess.run(
        f"{sys.executable} -m headrace.cli --help | true", shell=True, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_windows_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit, match=r"runs on Linux, .*: use WSL"):
        cli.main()
