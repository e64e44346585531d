"""Planted faults replace code that exists: after a rename, one that assigns a new attribute would change nothing."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.repository import ROOT

MODULES = [
    path
    for folder in ("tests/life/mutants", "tests/crash/mutants")
    for path in sorted((ROOT / folder).glob("*.py"))
    if path.name != "__init__.py"
]


def replaced(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the names of the owner and the attribute of each assignment to an attribute of an imported name."""
    tree = ast.parse(path.read_text())
    imported = {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    for node in ast.walk(tree):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id in imported:
                yield target.value.id, target.attr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_a_planted_fault_replaces_an_attribute_that_exists(path: Path) -> None:
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    missing = [f"{owner}.{name}" for owner, name in replaced(path) if not hasattr(getattr(module, owner), name)]
    assert missing == []
