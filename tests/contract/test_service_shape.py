"""Every service package has the same shape, which CONTRIBUTING.md describes."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.runtime.service import Program
from tests.contract.repository import ROOT, SERVICES

#: Packages that connect to the broker: only `pulsar/` and the composition root import them. Every module may import
#: values such as batches.
_BROKER = (
    "pulsar",
    *(
        f"headrace.runtime.pulsar.{module}"
        for module in ("connection", "consumer", "dead_letter_writer", "log_ends", "log_reader", "producer")
    ),
)

#: A protocol that names the broker's consumer, so it stands beside what implements it.
_OUTSIDE = {"headrace_feature.pulsar.source"}

every_service = pytest.mark.parametrize("service", SERVICES)


@every_service
def test_a_service_has_the_three_modules_of_the_skeleton(service: str) -> None:
    assert {"__main__", "app", "settings"} <= {name for name, _ in _modules(service)}
    assert {path.parent.name for path in _package(service).rglob("*.py")} <= {_package(service).name, "grpc", "pulsar"}


@every_service
def test_the_entry_point_only_runs_the_program(service: str) -> None:
    (module,) = [module for name, module in _modules(service) if name == "__main__"]
    assert set(_imports(module)) == {"__future__", "headrace.runtime.service", f"headrace_{service}.app"}
    assert len([node for node in ast.walk(module) if isinstance(node, ast.stmt)]) <= 9


@every_service
def test_a_program_is_named_after_its_service(service: str) -> None:
    program = importlib.import_module(f"headrace_{service}.app").PROGRAM
    assert isinstance(program, Program)
    assert program.name == service
    assert program.settings.__module__ == f"headrace_{service}.settings"
    assert set(program.options) <= set(program.settings.model_fields)


@every_service
def test_only_grpc_modules_know_grpc(service: str) -> None:
    users = {
        name
        for name, module in _modules(service)
        for imported in _imports(module)
        if _is_within(imported, "grpc") or imported.endswith("_pb2_grpc")
    }
    assert {name for name in users if not _is_within(name, "grpc")} == set()


@every_service
def test_only_pulsar_modules_connect_to_the_broker(service: str) -> None:
    users = {
        name
        for name, module in _modules(service)
        for imported in _imports(module)
        if any(_is_within(imported, part) for part in _BROKER)
    }
    places = {name for name in users if name != "app" and not _is_within(name, "pulsar")}
    assert {f"headrace_{service}.{name}" for name in places} - _OUTSIDE == set()


@every_service
def test_protocols_are_ports(service: str) -> None:
    places = {
        f"headrace_{service}.{name}"
        for name, module in _modules(service)
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "Protocol" for base in node.bases)
    }
    assert places - _OUTSIDE <= {f"headrace_{service}.ports"}


def test_the_list_of_exceptions_names_modules_that_exist() -> None:
    assert {f"headrace_feature.{name}" for name, _ in _modules("feature")} >= _OUTSIDE


def _package(service: str) -> Path:
    return ROOT / "services" / service / "src" / f"headrace_{service}"


def _modules(service: str) -> list[tuple[str, ast.Module]]:
    """Return the modules of a service by their names within its package."""
    package = _package(service)
    return [
        (".".join(path.relative_to(package).with_suffix("").parts), ast.parse(path.read_text()))
        for path in sorted(package.rglob("*.py"))
    ]


def _imports(module: ast.Module) -> Iterator[str]:
    """Yield the full name of everything that a module imports."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = {"PROGRAM", "annotations"}
            yield from (
                f"{node.module}" if alias.name in names else f"{node.module}.{alias.name}" for alias in node.names
            )


def _is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")
