"""The pages are accurate: every command, option, target, setting, file and name in them exists."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from headrace.cli.program import headrace
from tests.contract.pages import PAGES, Block, commands, links, python_blocks
from tests.contract.repository import ROOT, settings_of_services, targets

#: Read by the command line or the services, but not settings of a service.
VARIABLES = {"HEADRACE_DEBUG", "HEADRACE_COMPILED", "HEADRACE_LOOP_FOLDER"}

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def test_there_are_pages() -> None:
    assert len(PAGES) >= 3
    assert sum(len(commands(page, "headrace")) for page in PAGES) >= 5


@every_page
def test_every_command_exists_with_its_options(page: Path) -> None:
    assert [wrong for words in commands(page, "headrace") for wrong in _wrong(headrace, words)] == []


@every_page
def test_every_target_exists(page: Path) -> None:
    named = {word for words in commands(page, "make") for word in words if re.fullmatch(r"[a-z0-9-]+", word)}
    assert named - targets() == set()


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [link for link in links(page) if not (page.parent / link).exists()] == []


@every_page
def test_every_setting_is_one(page: Path) -> None:
    known = {f"HEADRACE_{name.upper()}" for kind in settings_of_services() for name in kind.model_fields} | VARIABLES
    assert set(re.findall(r"HEADRACE_[A-Z][A-Z_]*[A-Z]", page.read_text())) - known == set()


@every_page
def test_every_python_block_names_what_is_there(page: Path) -> None:
    assert [wrong for block in python_blocks(page) for wrong in _unknown(block)] == []


@pytest.mark.parametrize(
    "line", ["scores late_arrival", "score late_arrival --evnt '{}'", "dead-letters lst", "up loop.py -z"]
)
def test_what_does_not_exist_is_noticed(line: str) -> None:
    assert len(list(_wrong(headrace, line.split()))) == 1


def _wrong(command: click.Command, words: list[str]) -> Iterator[str]:
    """Yield the parts of a command line that do not exist."""
    context = click.Context(command)
    options = {
        name for parameter in command.get_params(context) for name in (*parameter.opts, *parameter.secondary_opts)
    }
    for index, word in enumerate(words):
        if isinstance(command, click.Group) and re.match(r"[a-z]", word):
            inner = command.get_command(context, word)
            if inner is None:
                yield f"no command {word!r} in {command.name}"
            else:
                yield from _wrong(inner, words[index + 1 :])
            return
        if re.match(r"--?[a-z]", word) and word.split("=")[0] not in {*options, "--help", "-h"}:
            yield f"no option {word!r} of {command.name}"


def _unknown(block: Block) -> Iterator[str]:
    for node in ast.walk(ast.parse(block.text, str(block))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            module = importlib.import_module(node.module)
            for alias in node.names:
                if not hasattr(module, alias.name) and not _is_module(f"{node.module}.{alias.name}"):
                    yield f"{block}: {node.module} has no {alias.name}"


def _is_module(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return False
    return True
