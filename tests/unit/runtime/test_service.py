"""The skeleton of a service: the order of its life, its heartbeat, its options and its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import redis

from headrace.definition import LoopDefinition
from headrace.errors import Unavailable
from headrace.runtime.redis.status import Heartbeat, Pace, ServiceStatus, StatusBoard
from headrace.runtime.service import App, Endpoint, HeartbeatThread, Service
from headrace.runtime.settings import ServiceSettings
from headrace.wire import compiled_loop


class Board:
    """A status board that is away for the first writes."""

    def __init__(self, away: int = 0) -> None:
        self._away = away
        self.written: list[str] = []
        self.removed = False

    def write(self, status: ServiceStatus) -> None:
        if self._away:
            self._away -= 1
            raise redis.ConnectionError("away")
        self.written.append(status.note)

    def remove(self, status: ServiceStatus) -> None:
        self.removed = True


class Beats(Pace):
    """A pace of so many beats, without waits."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._left = count

    def wait(self) -> bool:
        self._left -= 1
        return self._left > 0


def beat(board: Board, reports: list[str | Exception], failed: Callable[[BaseException], None]) -> HeartbeatThread:
    """Beat once for each report, in a thread; return it when it has ended."""
    status = ServiceStatus(service="ingest", instance="ingest-0")
    upcoming = iter(reports)

    def report() -> None:
        note = next(upcoming)
        if isinstance(note, Exception):
            raise note
        status.note = note

    heartbeat = Heartbeat(cast(StatusBoard, board), status)
    thread = HeartbeatThread(heartbeat, Beats(len(reports)), report, failed)
    thread.start()
    thread.join()
    return thread


def test_a_store_that_is_away_costs_only_its_beats() -> None:
    board, failures = Board(away=2), list[BaseException]()
    beat(board, ["first", "second", "third", "fourth"], failures.append)
    assert board.written == ["third", "fourth"]
    assert failures == []


def test_a_report_that_needs_an_absent_server_costs_only_its_beat() -> None:
    board, failures = Board(), list[BaseException]()
    beat(board, ["first", Unavailable("broker"), "third"], failures.append)
    assert board.written == ["first", "third"]
    assert failures == []


def test_an_unexpected_error_is_reported_and_ends_the_heartbeat() -> None:
    board, failures, fault = Board(), list[BaseException](), RuntimeError("a fault")
    beat(board, ["first", fault, "third"], failures.append)
    assert board.written == ["first"]
    assert failures == [fault]


def test_a_stopped_heartbeat_removes_the_service_from_the_board() -> None:
    board = Board()
    thread = beat(board, ["first"], lambda error: None)
    assert not board.removed
    thread.stop()
    assert board.removed


class Work(App):
    """An app that records the order of its life and ends it in `start`."""

    def __init__(self, service: Service[ServiceSettings], end: Callable[[Service[ServiceSettings]], None]) -> None:
        self._service = service
        self._end = end
        self.calls: list[str] = []

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint()

    async def prepare(self) -> None:
        self.calls.append("prepare")

    async def start(self) -> None:
        self.calls.append("start")
        self._end(self._service)

    def report(self, status: ServiceStatus) -> None:
        # A beat may come between the start and the stop of the service: its servers do not exist.
        assert status.state in ("starting", "waiting")

    async def stop(self) -> None:
        self.calls.append("stop")

    def join(self) -> None:
        self.calls.append("join")


def raise_fault(service: Service[ServiceSettings]) -> None:
    raise RuntimeError("a fault")


def report_fault(service: Service[ServiceSettings]) -> None:
    service.fail(RuntimeError("a fault"))
    service.fail(RuntimeError("a later fault"))


def receive_signal(service: Service[ServiceSettings]) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


async def lived(tmp_path: Path, end: Callable[[Service[ServiceSettings]], None]) -> tuple[list[str], str]:
    """Run a service without servers; return the calls of its app, and its failure."""
    settings = ServiceSettings(
        loop=compiled(tmp_path),
        pulsar_url="pulsar://127.0.0.1:1",
        redis_url="redis://127.0.0.1:1",
        data=tmp_path,
        bind="127.0.0.1:0",
    )
    apps: list[Work] = []

    def make(service: Service[ServiceSettings]) -> App:
        apps.append(Work(service, end))
        return apps[0]

    failure = ""
    try:
        await Service("ingest", settings).run(make)
    except RuntimeError as error:
        failure = str(error)
    return apps[0].calls, failure


def compiled(directory: Path) -> Path:
    """Write a loop that declares nothing."""
    path = directory / "loop.json"
    path.write_bytes(compiled_loop.encode(LoopDefinition("empty", (), (), (), ())))
    return path


@pytest.mark.parametrize(
    ("end", "failure"),
    [(receive_signal, ""), (Service.stop, ""), (report_fault, "a fault"), (raise_fault, "a fault")],
)
async def test_an_app_is_stopped_and_joined_however_it_ends(
    end: Callable[[Service[ServiceSettings]], None], failure: str, tmp_path: Path
) -> None:
    assert await lived(tmp_path, end) == (["prepare", "start", "stop", "join"], failure)


_PROGRAM = """
import sys
from headrace.errors import Unavailable
from headrace.runtime.service import Program, run
from headrace_learner.settings import LearnerSettings

def app(service):
    settings = service.settings
    print(settings.loop_file, settings.model, sys.argv[1:])
    raise {error}

run(Program(name="learner", description="Learn.", settings=LearnerSettings, app=app, options=("loop_file", "model")))
"""


def ended(error: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program whose app raises an error."""
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(error=error), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )


def test_options_are_settings_and_no_library_sees_them(tmp_path: Path) -> None:
    loop = str(compiled(tmp_path))
    arguments = ["--loop", loop, "--loop-file", "loop.py", "--model", "a", "--model", "b,e"]
    done = ended("Unavailable('no broker')", *arguments, HEADRACE_LOOP="other", HEADRACE_MODEL="c")
    assert (done.stdout, done.returncode) == ("loop.py ('a', 'b', 'e') []\n", 1)
    done = ended("Unavailable('no broker')", HEADRACE_LOOP=loop, HEADRACE_LOOP_FILE="loop.py", HEADRACE_MODEL="c,d")
    assert (done.stdout, done.returncode) == ("loop.py ('c', 'd') []\n", 1)


def test_refused_settings_end_with_the_usage(tmp_path: Path) -> None:
    done = ended("Unavailable('no broker')", "--loop", str(compiled(tmp_path)))
    assert done.returncode == 2
    assert "usage: headrace-learner" in done.stderr
    assert "HEADRACE_LOOP_FILE is not set" in done.stderr
