"""The compose file and the image: valid, in step with the services, and safe for what a loop has learned."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import pkgutil
import re
import sys
from types import ModuleType
from typing import Any

import pytest
from ruamel.yaml import YAML

import headrace.engine.kernel
from headrace.runtime.grpc.server import Server
from headrace.runtime.readiness import Dependencies, Dependency
from headrace.runtime.settings import ServiceSettings
from tests.contract.repository import ROOT, SERVICES, TOOLS, run, said

FILE = ROOT / "docker-compose.yml"
DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(FILE)
    return loaded


def test_the_compose_file_is_valid() -> None:
    assert said(run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", FILE)) == ""


def test_each_service_is_built_from_its_own_folder(compose: dict[str, Any]) -> None:
    built = {name: service["build"] for name, service in compose["services"].items() if "build" in service}
    assert set(built) == set(SERVICES)
    for name, service in built.items():
        assert service["args"] == {"SERVICE": name}
        assert (ROOT / service["dockerfile"]).exists()


def test_all_that_a_service_waits_for_tells_its_health(compose: dict[str, Any]) -> None:
    for name in SERVICES:
        awaited = compose["services"][name]["depends_on"]
        assert {dependency["condition"] for dependency in awaited.values()} == {"service_healthy"}
        assert all("healthcheck" in compose["services"][server] for server in awaited)
    assert "HEALTHCHECK" in (DEPLOY / "Dockerfile").read_text()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_told_what_it_understands(compose: dict[str, Any], service: str) -> None:
    settings = importlib.import_module(f"headrace_{service}.settings")
    [schema] = [kind for kind in vars(settings).values() if _is_settings(kind)]
    known = {f"HEADRACE_{name.upper()}" for name in schema.model_fields}
    variables = set(compose["services"][service]["environment"])
    image = set(re.findall(r"(HEADRACE_\w+)=", (DEPLOY / "Dockerfile").read_text()))
    assert variables | image <= known
    required = {f"HEADRACE_{name.upper()}" for name, field in schema.model_fields.items() if field.is_required()}
    assert required <= variables | image


def test_nothing_is_reachable_from_another_machine(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_no_server_forgets_what_a_loop_relies_on(compose: dict[str, Any]) -> None:
    store = compose["services"]["valkey"]
    assert "--appendonly yes" in " ".join(store["command"])
    assert "--maxmemory-policy noeviction" in " ".join(store["command"])
    broker = compose["services"]["pulsar"]["environment"]
    assert broker["defaultRetentionTimeInMinutes"] == broker["defaultRetentionSizeInMB"] == "-1"
    assert broker["brokerDeleteInactiveTopicsEnabled"] == "false"


def test_the_broker_reads_its_data_at_any_address(compose: dict[str, Any]) -> None:
    broker = compose["services"]["pulsar"]
    url = compose["services"]["ingest"]["environment"]["HEADRACE_PULSAR_URL"]
    # Ledgers record the bookie's advertised address. With a bookieId, a standalone does not start a second time.
    assert url == f"pulsar://{broker['environment']['advertisedAddress']}:6650"
    assert not any("bookieId" in name for name in broker["environment"])


def test_volumes_are_declared_for_all_that_keeps_state(compose: dict[str, Any]) -> None:
    stateful = {"pulsar", "valkey", *SERVICES}
    for name in stateful:
        assert any(str(volume).startswith(f"{name}:") for volume in compose["services"][name]["volumes"])
    assert stateful == set(compose["volumes"])


def test_what_the_image_copies_is_there_and_sent_to_the_builder() -> None:
    sent = set(re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    copies = re.findall(r"^COPY (?!--from)(.*) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    for service in SERVICES:
        for source in " ".join(copies).replace("${SERVICE}", service).split():
            assert (ROOT / source).exists()
            assert source in sent or source.split("/")[0] in sent


def test_the_image_holds_the_kernel_compiled() -> None:
    _script("compile_kernel").main()
    for module in pkgutil.iter_modules(headrace.engine.kernel.__path__, "headrace.engine.kernel."):
        namespace = importlib.import_module(module.name)
        compiled = [function for function in vars(namespace).values() if hasattr(function, "signatures")]
        # Functions that others call come from numba's cache without signatures of their own.
        assert not compiled or any(function.signatures for function in compiled), module.name
    assert headrace.engine.learning.compiled.kernel.run.signatures


@pytest.mark.parametrize(("service", "compiled"), [("ingest", []), ("feature", ["fold"]), ("learner", ["learn"])])
def test_image_holds_only_what_its_service_runs(
    service: str, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script, called = _script("compile_kernel"), list[str]()
    for name in ("fold", "learn"):
        monkeypatch.setattr(script, name, lambda name=name: called.append(name))
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name.startswith("headrace_") and name != f"headrace_{service}" else find(name),
    )
    script.main()
    assert called == compiled


def test_image_without_a_compiled_learner_is_built(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "headrace.engine.learning.compiled", None)
    _script("compile_kernel").learn()
    assert capsys.readouterr().err.startswith("warning: River will learn all models: Compiled code cannot be loaded")


async def _health() -> tuple[int | None, str]:
    """Run the container's health check in its own process: the server has to answer meanwhile."""
    asking = await asyncio.create_subprocess_exec(sys.executable, DEPLOY / "healthy.py", stderr=asyncio.subprocess.PIPE)
    _, output = await asking.communicate()
    return asking.returncode, output.decode().strip()


async def test_a_health_check_names_what_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise ConnectionError("away")

    dependencies = Dependencies(Dependency("broker", "pulsar://pulsar:6650", away))
    server = Server("127.0.0.1:0", {}, dependencies=dependencies)
    monkeypatch.setenv("HEADRACE_BIND", server.address)
    await server.start()
    assert await _health() == (1, "not ready: cannot reach broker pulsar://pulsar:6650")
    await server.stop()


async def test_a_container_is_healthy_while_its_service_serves(monkeypatch: pytest.MonkeyPatch) -> None:

    server = Server("127.0.0.1:0", {})
    monkeypatch.setenv("HEADRACE_BIND", server.address)
    await server.start()
    assert await _health() == (0, "")
    await server.stop()
    assert (await _health())[0] == 1


def _is_settings(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, ServiceSettings) and kind is not ServiceSettings


def _script(name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, DEPLOY / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
