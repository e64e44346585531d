"""Import rules between packages: the contracts of `pyproject.toml`, under `tool.importlinter`."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

from tests.contract.repository import ROOT, SERVICES, TOOLS, run, said

#: What users import, with the messages of gRPC; all else may change without notice.
PUBLIC = {
    "headrace",
    "headrace.client",
    "headrace.declare",
    "headrace.embedded",
    "headrace.history",
    "headrace.inference",
    "headrace.v1",
}


def test_the_import_contracts_hold() -> None:
    assert said(run(TOOLS / "lint-imports", "--no-cache")) == ""


def test_the_contracts_know_every_service() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    packages = {path.name for path in ROOT.glob("services/*/src/*") if (path / "__init__.py").exists()}
    assert packages == {f"headrace_{service}" for service in SERVICES}
    assert set(contracts["root_packages"]) == {"headrace", *packages}


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


def _names_nothing(path: Path) -> bool:
    return re.search(r"(^|_)(utils?|helpers?|common|misc)$", path.stem) is not None or path.parent.name == "utils"
