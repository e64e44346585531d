"""The Java and Go programs of the page on topics do what it says, on the official broker: `make test-clients`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from headrace import embedded
from headrace.embedded.brokers import Given
from headrace.embedded.servers import Server
from tests.brokers import Runs, on_the_official, skip_or_fail
from tests.clients.ground import WRONG, disturb, learned_loop, read
from tests.clients.page import PAGE, at_home, lines_of, programs
from tests.contract.repository import ROOT
from tests.deadline import until
from tests.processes import output

HERE = Path(__file__).parent
HOUR = 3_600_000_000

#: Time of the first event of each writer: a writer's mark makes earlier events late.
STARTS = {
    "java": 1_357_038_600_000_000,
    "go": 1_357_038_600_000_000 + HOUR,
    "default hash": 1_357_038_600_000_000 + 2 * HOUR,
}


class Built(Protocol):
    """The programs of a language, built."""

    def write(self) -> None: ...

    def read(self) -> str: ...


class Java:
    """The Java programs, and two that do what the page warns of."""

    def __init__(self, folder: Path, running: embedded.RunningLoop) -> None:
        _require("java", "mvn")
        self._folder = folder
        write, reader = programs("java")
        plain = re.sub(
            r"Schema\.JSON\(SchemaDefinition.*?\.build\(\)\)", "Schema.JSON(Departed.class)", write, flags=re.S
        )
        default = re.sub(r"\n *\.hashingScheme\(.*?\)", "", write)
        assert write not in (plain, default)
        sources = folder / "src" / "main" / "java"
        sources.mkdir(parents=True)
        for name, text, start in (
            ("WriteEvents", write, STARTS["java"]),
            ("PlainSchema", plain.replace("class WriteEvents", "class PlainSchema"), STARTS["java"]),
            ("DefaultHash", default.replace("class WriteEvents", "class DefaultHash"), STARTS["default hash"]),
            ("ReadTopics", reader, None),
        ):
            (sources / f"{name}.java").write_text(at_home(text, running, start))
        shutil.copy(HERE / "java" / "pom.xml", folder)
        goals = ("compile", "dependency:copy-dependencies", "-DoutputDirectory=target/lib")
        output("mvn", "-q", "-B", f"-Dprotos={ROOT / 'protos'}", *goals, at=folder)

    def write(self) -> None:
        assert self.run("WriteEvents").returncode == 0

    def read(self) -> str:
        done = self.run("ReadTopics")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        (option,) = re.findall(r"`(--add-opens\S+)`", PAGE.read_text())
        command = ["java", option, "-cp", "target/classes:target/lib/*", name]
        return subprocess.run(command, cwd=self._folder, capture_output=True, text=True, check=False)


class Go:
    """The Go programs."""

    def __init__(self, folder: Path, running: embedded.RunningLoop) -> None:
        _require("go")
        self._folder = folder
        write, reader = programs("go")
        for name, text, start in (("write", write, STARTS["go"]), ("read", reader, None)):
            (folder / name).mkdir()
            (folder / name / "main.go").write_text(text)
            assert output("gofmt", "-l", folder / name) == ""
            (folder / name / "main.go").write_text(at_home(text, running, start))
        for file in ("go.mod", "go.sum"):
            shutil.copy(HERE / "go" / file, folder)
        output("go", "build", "-o", "bin/", "google.golang.org/protobuf/cmd/protoc-gen-go", at=folder)
        package = "example.com/clients/headrace/v1"
        options = ("--go_opt=module=example.com/clients", f"--go_opt=Mheadrace/v1/models.proto={package}")
        plugin = f"--plugin=protoc-gen-go={folder / 'bin' / 'protoc-gen-go'}"
        protoc = (sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", plugin, f"--go_out={folder}")
        output(*protoc, *options, "headrace/v1/models.proto")
        output("go", "vet", "./...", at=folder)
        output("go", "build", "-o", "bin/", "./write", "./read", at=folder)

    def write(self) -> None:
        output(self._folder / "bin" / "write")

    def read(self) -> str:
        return output(self._folder / "bin" / "read")


@pytest.fixture(scope="module")
def running(official: Server | Given, tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.RunningLoop]:
    """Yield the page's loop, with two partitions."""
    for place in on_the_official(official):
        with learned_loop(tmp_path_factory.mktemp("loop"), Runs(place).options) as loop:
            yield loop


@pytest.fixture(scope="module")
def java(running: embedded.RunningLoop, tmp_path_factory: pytest.TempPathFactory) -> Java:
    return Java(tmp_path_factory.mktemp("java"), running)


@pytest.fixture(scope="module")
def go(running: embedded.RunningLoop, tmp_path_factory: pytest.TempPathFactory) -> Go:
    return Go(tmp_path_factory.mktemp("go"), running)


@pytest.mark.official
def test_programs_write_and_read_as_the_page_shows(running: embedded.RunningLoop, java: Java, go: Go) -> None:
    written = {f"{language}{number}" for language in ("JA", "GO") for number in range(20)}
    languages: tuple[Built, ...] = (java, go)
    for language in languages:
        language.write()
    until(
        lambda: lines_of(read(running)),
        lambda lines: _ids(lines, "prediction") & _ids(lines, "question") >= written,
        60,
    )
    disturb(running)
    expected = read(running)
    assert WRONG not in expected
    for language in languages:
        assert sorted(language.read().splitlines()) == sorted(expected.splitlines())
    assert _misplaced(running) == 0


@pytest.mark.official
def test_a_plain_schema_is_refused(java: Java) -> None:
    done = java.run("PlainSchema")
    assert done.returncode != 0
    assert "IncompatibleSchema" in done.stderr


@pytest.mark.official
def test_the_default_hash_is_counted(running: embedded.RunningLoop, java: Java) -> None:
    assert java.run("DefaultHash").returncode == 0
    assert 0 < until(lambda: _misplaced(running), lambda count: count > 0) <= 20


def _ids(lines: dict[str, list[list[str]]], kind: str) -> set[str]:
    return {id for words in lines.get(kind, []) for id in words}


def _misplaced(running: embedded.RunningLoop) -> int:
    return sum(status.counters.get("misplaced", 0) for status in running.status())


def _require(*tools: str) -> None:
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        skip_or_fail(f"not here: {', '.join(missing)}")
