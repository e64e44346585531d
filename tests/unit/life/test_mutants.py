"""Planted faults change something: one that assigns a new attribute, or hides its own parameter, would not."""

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


def hidden(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each function with the name of its parameter that a function within it hides."""
    functions = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))
    for function in functions:
        for inner in ast.walk(function):
            if inner is not function and isinstance(inner, ast.FunctionDef):
                yield from ((function.name, name) for name in parameters(function) & parameters(inner) - {"self"})


def parameters(function: ast.FunctionDef) -> set[str]:
    signature = function.args
    named = [*signature.posonlyargs, *signature.args, *signature.kwonlyargs]
    return {argument.arg for argument in [*named, signature.vararg, signature.kwarg] if argument is not None}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_a_planted_fault_hides_none_of_its_parameters(path: Path) -> None:
    assert list(hidden(path)) == []
