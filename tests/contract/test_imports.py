"""Import rules between packages: the contracts of `pyproject.toml`, under `tool.importlinter`."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import grimp
import pytest

from tests.contract.repository import ROOT, SERVICES, TOOLS, run, said

#: What users import, with the messages of gRPC; all else may change without notice.
PUBLIC = {
    "headrace",
    "headrace.client",
    "headrace.compiler",
    "headrace.declare",
    "headrace.embedded",
    "headrace.history",
    "headrace.inference",
    "headrace.v1",
}


def test_the_import_contracts_hold() -> None:
    assert said(run(TOOLS / "lint-imports", "--no-cache")) == ""


def test_the_contracts_know_every_service() -> None:
    packages = {path.name for path in ROOT.glob("services/*/src/*") if (path / "__init__.py").exists()}
    assert packages == {f"headrace_{service}" for service in SERVICES}
    assert set(_root_packages()) == {"headrace", *packages}


def test_no_module_imports_itself_through_others() -> None:
    assert _cycles(grimp.build_graph(*_root_packages(), cache_dir=None)) == []


def test_a_cycle_for_types_alone_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "circular_sample"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "orders.py").write_text("import circular_sample.items")
    later = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from circular_sample.orders import Order\n"
    (package / "items.py").write_text(later)
    monkeypatch.syspath_prepend(str(tmp_path))
    (cycle,) = _cycles(grimp.build_graph("circular_sample", cache_dir=None))
    assert cycle == "circular_sample.items -> circular_sample.orders -> circular_sample.items"


def test_internal_packages_say_so() -> None:
    packages = {path.parent: path.read_text() for path in (ROOT / "sdk/src").rglob("__init__.py")}
    names = {".".join(folder.relative_to(ROOT / "sdk/src").parts): text for folder, text in packages.items()}
    assert set(names) > PUBLIC
    docstrings = {name: ast.get_docstring(ast.parse(text)) or "" for name, text in names.items()}
    assert {name for name, text in docstrings.items() if "internal" not in text.partition("\n\n")[0]} == PUBLIC


def test_no_module_is_called_after_nothing() -> None:
    sources = [path for pattern in ("sdk/src", "services/*/src") for path in ROOT.glob(f"{pattern}/**/*.py")]
    assert len(sources) > 100
    assert [path for path in sources if _names_nothing(path)] == []


def _root_packages() -> list[str]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    packages: list[str] = contracts["root_packages"]
    return packages


def _cycles(graph: grimp.ImportGraph) -> list[str]:
    """Return a shortest cycle of imports for each set of modules with one, whatever the imports are for."""
    cycles: dict[frozenset[str], str] = {}
    for module in sorted(graph.modules):
        for imported in graph.find_modules_directly_imported_by(module):
            chain = graph.find_shortest_chain(imported, module)
            if chain is not None:
                cycles.setdefault(frozenset(chain), " -> ".join((module, *chain)))
    return sorted(cycles.values())


def _names_nothing(path: Path) -> bool:
    return re.search(r"(^|_)(utils?|helpers?|common|misc)$", path.stem) is not None or path.parent.name == "utils"
