"""Import rules between packages: the contracts of `pyproject.toml`, under `tool.importlinter`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests.contract.repository import ROOT, SERVICES, TOOLS, run, said


def test_the_import_contracts_hold() -> None:
    assert said(run(TOOLS / "lint-imports", "--no-cache")) == ""


def test_the_contracts_know_every_service() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    packages = {path.name for path in ROOT.glob("services/*/src/*") if (path / "__init__.py").exists()}
    assert packages == {f"headrace_{service}" for service in SERVICES}
    assert set(contracts["root_packages"]) == {"headrace", *packages}


def test_no_module_is_called_after_nothing() -> None:
    sources = [path for pattern in ("sdk/src", "services/*/src") for path in ROOT.glob(f"{pattern}/**/*.py")]
    assert len(sources) > 100
    assert [path for path in sources if _names_nothing(path)] == []


def _names_nothing(path: Path) -> bool:
    return re.search(r"(^|_)(utils?|helpers?|common|misc)$", path.stem) is not None or path.parent.name == "utils"
