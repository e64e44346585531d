"""Every mistake in a loop file: where it is reported, as what, and with which cure."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from headrace import compiler, declare
from headrace.declare.place import Place
from headrace.engine import export
from headrace.errors import DefinitionErrors


class Told(NamedTuple):
    """A mistake: the text of the line that it points to, and its message."""

    line: str
    message: str


class Case(NamedTuple):
    """A change of the loop file, and all mistakes that it causes."""

    old: str
    new: str
    told: list[Told]


def case(block: str) -> Case:
    lines = block.splitlines()
    by_sign = {sign: [line[2:] for line in lines if line.startswith(sign)] for sign in "-+@ "}
    problems = [Told(*pair) for pair in zip(by_sign["@"], by_sign[" "], strict=True)]
    return Case("\n".join(by_sign["-"]), "\n".join(by_sign["+"]), problems)


BLOCKS = (Path(__file__).parent / "mistakes.txt").read_text().split("\n\n")
CASES = [case(block) for block in BLOCKS[1:]]


def mistakes(path: Path) -> list[Told]:
    with pytest.raises(DefinitionErrors) as raised:
        compiler.load(path)
    lines = path.read_text().splitlines()
    problems = []
    for error in raised.value.errors:
        found = re.fullmatch(r"flights/loop\.py:(\d+): (.*)", str(error))
        assert found, error
        problems.append(Told(lines[int(found[1]) - 1].strip(), found[2]))
    return problems


@pytest.mark.parametrize("case", CASES, ids=[" ".join(case.new.split())[:60] for case in CASES])
def test_a_mistake_is_told_with_its_line_and_cure(case: Case, write: Callable[..., Path]) -> None:
    assert mistakes(write((case.old, case.new))) == case.told


def test_all_mistakes_of_a_file_are_told_in_one_go_in_the_order_of_lines(write: Callable[..., Path]) -> None:
    path = write(
        ('by="carrier"', 'by="carier"'),
        ('"24h"', '"24hours"'),
        ('within="48h"', 'within="later"'),
        ("Scheduled.distance", "Scheduled.distanse"),
        ("LogisticRegression(),", "LinearRegression(),"),
    )
    assert [problem.message.split(". ")[0] for problem in mistakes(path)] == [
        "view carrier_delay: stream arrived has no field 'carier' to be by",
        "view carrier_delay: window '24hours' is no duration",
        "label late: within 'later' is no duration",
        "model late_arrival: its label makes it binary, and LinearRegression is a regressor",
        "model late_arrival: stream scheduled has no field 'distanse'",
    ]


def test_an_estimator_without_converter_is_refused_with_the_list_of_those_that_have_one(
    write: Callable[..., Path],
) -> None:
    path = write(
        ("from river.linear_model", "from river.neighbors import KNNClassifier\nfrom river.linear_model"),
        ("StandardScaler() | LogisticRegression()", "KNNClassifier()"),
    )
    [problem] = mistakes(path)
    assert problem.message == (
        "model late_arrival: KNNClassifier has no ONNX converter, so no version could be served."
        f" These have: {', '.join(export.supported())}."
    )


def test_what_a_file_raises_is_told_beside_the_mistakes_before_it(write: Callable[..., Path]) -> None:
    path = write(('by="carrier"', 'by="carier"'), ("\nlate = ", "\nundefined\nlate = "))
    assert [problem.line for problem in mistakes(path)] == ["carrier_delay = View(", "undefined"]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DefinitionErrors, match="it cannot be read: No such file"):
        compiler.load(tmp_path / "nothing.py")


def test_what_is_no_file_is_named_and_not_headrace_itself() -> None:
    folder = Path(declare.__file__).parents[2]
    with pytest.raises(DefinitionErrors) as raised:
        compiler.load(folder)
    assert str(raised.value).startswith(f"{Place(str(folder), 1)}: file: it cannot be read: Is a directory")


def test_a_file_without_streams_is_told(write: Callable[..., Path]) -> None:
    with pytest.raises(DefinitionErrors, match=r"^flights/loop\.py:1: loop: there is no stream in it"):
        compiler.load(write(text="x = 1\n"))


def test_a_mistake_in_another_file_of_the_folder_points_there(write: Callable[..., Path]) -> None:
    write(text="def f():\n    raise ValueError('no')\n", name="flights/parts.py")
    with pytest.raises(DefinitionErrors, match=r"^flights/parts\.py:2: file: ValueError: no\. "):
        compiler.load(write(text="from parts import f\n\nf()\n"))


def test_a_syntax_error_in_another_file_points_there(write: Callable[..., Path]) -> None:
    write(text="x =\n", name="flights/parts.py")
    with pytest.raises(DefinitionErrors, match=r"^flights/parts\.py:1: syntax: "):
        compiler.load(write(text="import parts\n"))
