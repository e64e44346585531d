"""The page on defining a loop is accurate: its blocks, in order, are a loop without mistakes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace import Model, Stream
from headrace.compiler import LoadedLoop, explain
from headrace.declare.operations import OPERATIONS
from headrace.errors import DefinitionErrors

PAGE = (Path(__file__).parents[3] / "docs" / "define-a-loop.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_first_block_is_a_loop_of_its_own(loaded: Callable[..., LoadedLoop]) -> None:
    loop = loaded(text=BLOCKS[0])
    assert [model.name for model in loop.definition.models] == ["late_arrival"]


def test_all_blocks_together_are_a_loop(loaded: Callable[..., LoadedLoop]) -> None:
    loop = loaded(text="\n".join(BLOCKS))
    assert loop.definition.name == "flights"
    assert [model.name for model in loop.definition.models] == ["late_arrival", "delay"]
    assert len(BLOCKS) == PAGE.count("```python")


def test_the_last_block_explains_a_loop(loaded: Callable[..., LoadedLoop], capsys: pytest.CaptureFixture[str]) -> None:
    loop = loaded(text=BLOCKS[0])
    namespace: dict[str, Callable[[str], None]] = {}
    exec(BLOCKS[-1], namespace)
    namespace["check"](str(loop.path))
    assert capsys.readouterr().out == f"{explain(loop)}\n{loop.learner('late_arrival')}\n"


def test_the_mistakes_are_told_as_the_page_shows(loaded: Callable[..., LoadedLoop]) -> None:
    [shown] = re.findall(r"^```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    with pytest.raises(DefinitionErrors) as raised:
        loaded(('Mean("delay_min")', 'Mean("delay")'), ('"3h"', '"3 hours"'), text=BLOCKS[0], name="loop.py")
    assert [str(error) for error in raised.value.errors] == shown.splitlines()


@pytest.mark.parametrize("declared", [Stream.__init_subclass__, Model.__init__])
def test_every_argument_is_in_its_table(declared: Callable[..., object]) -> None:
    for parameter in inspect.signature(declared).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert f"| `{parameter.name}` |" in PAGE


def test_every_operation_is_in_the_table() -> None:
    signs = {"add": "+ -", "neg": "unary `-`", "not": "~", "and": "& ", "or": "|"}
    for name, rule in OPERATIONS.items():
        assert signs.get(name, rule.symbol or f".{name}") in PAGE
