"""The compose file in ordinary situations: services before servers, `down` and `up`, killed containers, new addresses.

After each of these, `headrace send` sends pairs of a payment and its outcome. Then the topics must hold each of
them, with one vector and one example, the oracle must find no difference, and the scorer must answer from a version
that has learned all examples.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from headrace.client import send
from headrace.embedded.ports import free_port
from headrace.wire.compiled_loop import decode
from tests.deadline import until
from tests.stacks.engine import Engine

_ROOT = Path(__file__).parents[2]
_HEADRACE = Path(sys.executable).with_name("headrace")
_PROJECT = "headrace-stacks"

SERVERS = ("valkey", "pulsar")
SERVICES = ("ingest", "feature", "learner", "scorer")

_FIRST, _MORE, _LONG = 1_000, 100, 3_000

#: The last byte of the first address that a container moves to; engines assign low ones.
_FIRST_ADDRESS = 200

#: Seconds allowed for a situation: a broker's start takes most of it.
_PATIENCE_S = 240.0

#: Paths inside a container: Python, and the folder to which the tests are copied.
_PYTHON, _INSIDE = "/opt/headrace/bin/python", "/tmp/stacks"

_LOOP = """
from datetime import datetime

from river.linear_model import LogisticRegression
from river.preprocessing import StandardScaler

from headrace import Count, Label, Loop, Mean, Model, Stream, View, col

Loop("payments", idle="2s")


class Payment(Stream, key="card", time="at", id="payment"):
    payment: str
    at: datetime
    card: str
    amount: float


class Outcome(Stream, key="payment", time="at", id="payment"):
    payment: str
    at: datetime
    fraud: bool


spending = View(Payment, by="card", windows=["1h", "7d"], aggregates={"mean": Mean("amount"), "count": Count()})
fraud = Label(Outcome, of=Payment, value=col("fraud"), within="1h")

Model(
    "fraudulent",
    on=Payment,
    label=fraud,
    features=[spending, col("amount").signed_log()],
    learner=lambda: StandardScaler() | LogisticRegression(),
    publish_every=100,
)
"""


@dataclass
class Compose:
    """The running containers, and what has been sent to them."""

    engine: Engine
    folder: Path
    ports: dict[str, int]
    sent: int = 0
    rows: list[tuple[str, int, float]] = field(default_factory=list)

    def send(self, pairs: int) -> None:
        """Send payments and their outcomes, each outcome twenty minutes later."""
        address = f"127.0.0.1:{self.ports['ingest']}"
        options = ("--address", address, "--definition", str(self.folder / "loop.json"))
        for stream, path in self.files(pairs).items():
            self._headrace("send", stream, str(path), *options)
        self.sent += pairs

    def files(self, pairs: int) -> dict[str, Path]:
        """Write files of the next pairs; return them by stream."""
        numbers = range(self.sent, self.sent + pairs)
        payments = [f"P{number},{_at(number)},C{number % 17},{number % 97}.5" for number in numbers]
        outcomes = [f"P{number},{_at(number, 20)},{str(number % 7 == 0).lower()}" for number in numbers]
        lines = {"payment": ["payment,at,card,amount", *payments], "outcome": ["payment,at,fraud", *outcomes]}
        paths = {stream: self.folder / f"{stream}-{self.sent}.csv" for stream in lines}
        for stream, path in paths.items():
            path.write_text("\n".join(lines[stream]) + "\n")
        return paths

    def ready(self) -> None:
        """Wait until every service reports that it is ready."""
        until(lambda: [name for name in SERVICES if self.health(name)], lambda names: not names, _PATIENCE_S)

    def health(self, service: str) -> str:
        """Return why a service is not ready; empty if it is."""
        ended = self.engine.execute(service, [_PYTHON, "/opt/headrace/healthy.py"])
        return ended.stderr.strip() or f"exit {ended.returncode}" if ended.returncode else ""

    def whole(self, situation: str, start: float) -> None:
        """Wait until everything that was sent has become vectors, examples and a version, and note it."""
        until(self._missing, lambda reason: not reason, _PATIENCE_S)
        self.rows.append((situation, self.sent, time.monotonic() - start))
        sys.stdout.write(f"{situation:<44} {self.sent:>6} of each   {self.rows[-1][2]:5.0f} s\n")
        sys.stdout.flush()

    def _missing(self) -> str:
        """Return what is still missing or wrong; empty if nothing is."""
        self.engine.execute("learner", ["mkdir", "-p", _INSIDE])
        self.engine.copy(_ROOT / "tests", "learner", _INSIDE)
        ended = self.engine.execute("learner", ["env", f"PYTHONPATH={_INSIDE}", _PYTHON, "-m", "tests.stacks.inside"])
        if ended.returncode:
            return ended.stderr[-2_000:]
        report = json.loads(ended.stdout.splitlines()[-1])
        if report["differences"] or set(report["counts"].values()) != {self.sent}:
            return f"{report} instead of {self.sent} of each"
        result = self._headrace("models", "--json", "--address", f"127.0.0.1:{self.ports['scorer']}", check=False)
        if result.returncode:
            return result.stderr
        [model] = json.loads(result.stdout)
        return "" if model["examples"] == self.sent else f"the scorer has {model['examples']} examples"

    def _headrace(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        ended = subprocess.run([_HEADRACE, *arguments], capture_output=True, text=True, check=False)
        if check and ended.returncode:
            raise RuntimeError(f"headrace {' '.join(arguments)}: {ended.stderr or ended.stdout}")
        return ended


def _at(number: int, minutes: int = 0) -> str:
    day, minute = divmod(number * 3 + minutes, 1_440)
    return f"2026-01-{1 + day:02}T{minute // 60:02}:{minute % 60:02}:00Z"


@contextmanager
def compose(*, build: bool) -> Iterator[Compose]:
    """Yield containers of a copy of the compose file, without dependencies; remove them and their data at the end."""
    with tempfile.TemporaryDirectory(prefix="headrace-stacks-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # services run as their own user
        (folder / "loop.py").write_text(_LOOP)
        subprocess.run([_HEADRACE, "compile", folder / "loop.py", "-o", folder / "loop.json"], check=True)
        ports = {"ingest": free_port(), "scorer": free_port()}
        engine = Engine(_copy(folder, ports), _PROJECT)
        if build:
            engine.build()
        engine.down(volumes=True)
        try:
            yield Compose(engine, folder, ports)
        finally:
            engine.down(volumes=True)


def _copy(folder: Path, ports: dict[str, int]) -> Path:
    """Write the compose file with free ports, this loop, and services that start in any order."""
    file: dict[str, Any] = YAML(typ="safe").load(_ROOT / "docker-compose.yml")
    sources = {"/loop/loop.json": folder / "loop.json", "/loop/source": folder, "/pulsar/headrace.sh": None}
    for name, service in file["services"].items():
        service.pop("depends_on", None)
        if "build" in service:
            service["build"]["context"] = str(_ROOT)
        if name in ports:
            service["ports"] = [f"127.0.0.1:{ports[name]}:8080"]
        for volume in service["volumes"]:
            if isinstance(volume, dict):
                volume["source"] = str(sources[volume["target"]] or _ROOT / volume["source"])
    path = folder / "docker-compose.yml"
    # JSON is YAML for every reader, whereas some read a bare `yes` as a boolean.
    path.write_text(
        json.dumps({key: value for key, value in file.items() if not key.startswith("x-")} | {"name": _PROJECT})
    )
    return path


def run(*, build: bool) -> int:
    """Play every situation in turn; return the exit code."""
    with compose(build=build) as stack:
        start = time.monotonic()
        stack.engine.create()
        for service in SERVICES:
            stack.engine.start(service)
        waiting = until(lambda: {name: stack.health(name) for name in SERVICES}, _all_wait, _PATIENCE_S)
        for service, reason in waiting.items():
            sys.stdout.write(f"  {service}: {reason}\n")
        for server in SERVERS:
            stack.engine.start(server)
        stack.ready()
        stack.send(_FIRST)
        stack.whole("services first, then the servers", start)
        _down_and_up(stack)
        for name in (*SERVERS, *SERVICES):
            _killed(stack, name)
        for number, name in enumerate((*SERVERS, *SERVICES)):
            _moved(stack, name, _FIRST_ADDRESS + number)
        _down_and_up(stack)
        _killed_under_way(stack)
    sys.stdout.write(f"{len(stack.rows)} situations, {stack.sent} payments, no difference from the oracle\n")
    return 0


def _all_wait(reasons: dict[str, str]) -> bool:
    return all("cannot reach" in reason for reason in reasons.values())


def _down_and_up(stack: Compose) -> None:
    start = time.monotonic()
    stack.engine.down()
    stack.engine.up()
    stack.ready()
    stack.whole("down, up", start)
    stack.send(_MORE)
    stack.whole("down, up, and more events", start)


def _killed(stack: Compose, name: str) -> None:
    start = time.monotonic()
    stack.engine.kill(name)
    _started(stack, name)
    stack.send(_MORE)
    stack.whole(f"{name} killed", start)


def _moved(stack: Compose, name: str, last_byte: int) -> None:
    start, before = time.monotonic(), stack.engine.address(name)
    address = f"{before.rpartition('.')[0]}.{last_byte}"
    stack.engine.kill(name)
    until(lambda: stack.engine.is_running(name), lambda running: not running)
    stack.engine.leave(name)
    stack.engine.join(name, address)
    _started(stack, name)
    assert stack.engine.address(name) == address != before
    stack.send(_MORE)
    stack.whole(f"{name} at another address", start)


def _killed_under_way(stack: Compose) -> None:
    """Kill the broker between two slices of a file that is sent, and send the file again, whatever happened to it."""
    start = time.monotonic()
    loop = decode((stack.folder / "loop.json").read_bytes())
    path, killed_at = stack.files(_LONG)["payment"], list[int]()

    def kill(sent: int) -> None:
        if not killed_at and sent >= _LONG // 2:
            stack.engine.kill("pulsar")
            killed_at.append(sent)

    with ThreadPoolExecutor(1) as pool:
        address = f"127.0.0.1:{stack.ports['ingest']}"
        sending = pool.submit(send, loop.stream("payment"), [path], address, on_progress=kill)
        until(lambda: killed_at or sending.done(), bool, _PATIENCE_S)
        assert killed_at, f"the file was not sent: {sending.exception()}"
        assert killed_at[0] < _LONG, "nothing was left to be sent when the broker was killed"
        reason = until(lambda: stack.health("feature"), bool, _PATIENCE_S)
        sys.stdout.write(f"  feature: {reason}\n")
        _started(stack, "pulsar")
        error = sending.exception()
    outcome = str(error)[-200:] if error else f"{sending.result().accepted} accepted"
    sys.stdout.write(f"  pulsar killed after {killed_at[0]} of {_LONG} payments: {outcome}\n")
    stack.send(_LONG)
    stack.whole("pulsar killed while a file was sent", start)


def _started(stack: Compose, name: str) -> None:
    if not stack.engine.is_running(name):
        stack.engine.start(name)
    stack.ready()
