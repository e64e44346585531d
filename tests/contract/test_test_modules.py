"""Tests share code through `tests/support` and other modules that hold no tests."""

from __future__ import annotations

import ast

from tests.contract.repository import ROOT


def test_no_module_imports_a_module_of_tests() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {node.module}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2].startswith("test_")
    ]
    assert found == []
