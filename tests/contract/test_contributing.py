"""The contributor's pages are accurate: the files, names and tests in them exist, and CI runs `.ci/run`.

Their targets, commands, settings and links are checked in `test_docs`, with those of all pages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.contract import pages
from tests.contract.repository import ROOT, TOOLS, run, said, targets

PAGES = (ROOT / "CONTRIBUTING.md", ROOT / "RELEASING.md")
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

_CODE = re.compile(r"`([^`\n]+)`")
_ITEM = re.compile(r"^(?:- |\d+\. )(.*(?:\n {2,}.*)*)", re.MULTILINE)
_PATH = re.compile(r"\.?[\w.*-]*/[\w./*-]*|[\w-]+\.(?:md|toml|yml)")
_NAME = re.compile(r"(?!test_)[A-Za-z_]\w*")


def test_the_pages_are_among_those_whose_targets_are_checked() -> None:
    assert set(pages.PAGES) >= {*PAGES, ROOT / "SECURITY.md"}


@every_page
def test_every_file_exists(page: Path) -> None:
    text = page.read_text()
    assert len(_paths(text)) >= 10
    assert _missing_files(text) == []


@every_page
def test_every_name_is_in_the_file_it_is_given_for(page: Path) -> None:
    assert _missing_names(page.read_text()) == []


@every_page
def test_every_test_exists(page: Path) -> None:
    sources = [file.read_text() for file in (ROOT / "tests").rglob("test_*.py")]
    there = {name for source in sources for name in re.findall(r"def (test_\w+)", source)}
    assert set(re.findall(r"`(test_\w+)`", page.read_text())) - there == set()


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("- `sdk/src/headrace/definitions.py`: a field.", "sdk/src/headrace/definitions.py"),
        ("Tests are in `tests/units/`.", "tests/units/"),
        ("- `tests/oracle/windows.py`: its place in\n  `_OPERATION`.", "tests/oracle/windows.py: _OPERATION"),
    ],
)
def test_what_does_not_exist_is_noticed(text: str, missing: str) -> None:
    assert [*_missing_files(text), *_missing_names(text)] == [missing]


def test_the_hooks_call_targets() -> None:
    hooks = [own for repo in _yaml(ROOT / ".pre-commit-config.yaml")["repos"] for own in repo["hooks"]]
    called = [own["entry"].removeprefix("make ") for own in hooks]
    assert called
    assert set(called) - targets() == set()


def test_the_workflow_calls_ci_run_on_every_python_of_the_makefile() -> None:
    assert said(run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", WORKFLOW)) == ""
    (job,) = _yaml(WORKFLOW)["jobs"].values()
    assert ".ci/run" in [step.get("run") for step in job["steps"]]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    tried = re.search(r'for candidate in "\$\(PYTHON\)" (.*); do', (ROOT / "Makefile").read_text())
    assert tried is not None
    assert {f"python{own}" for own in job["strategy"]["matrix"]["python"]} == set(tried[1].split())


def _paths(text: str) -> list[str]:
    return [own for own in _CODE.findall(text) if _PATH.fullmatch(own)]


def _missing_files(text: str) -> list[str]:
    return [own for own in _paths(text) if not any(ROOT.glob(own.rstrip("/")))]


def _missing_names(text: str) -> list[str]:
    """Return the names that are not in the file with which their item begins."""
    missing = []
    for item in _ITEM.findall(text):
        first, *others = _CODE.findall(item) or [""]
        if item.startswith(f"`{first}`") and (ROOT / first).is_file():
            source = (ROOT / first).read_text()
            names = [own for own in others if _NAME.fullmatch(own)]
            missing += [f"{first}: {own}" for own in names if not re.search(rf"\b{own}\b", source)]
    return missing


def _yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)
