"""The supervisor, with real processes and a real store; the services are stand-ins of a few lines."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from headrace import embedded
from headrace.embedded.processes import Delays, Supervisor, Surroundings
from headrace.embedded.restarts import FAILED_AFTER
from headrace.errors import Unavailable
from headrace.runtime.redis.status import ServiceStatus, StatusBoard
from tests.deadline import until

_SERVICE = """
import os, signal, socket, sys, time
import redis
from headrace.runtime.redis.status import ServiceStatus, StatusBoard

service = os.path.basename(sys.argv[0]).removesuffix(".py")
host, _, port = os.environ["HEADRACE_BIND"].rpartition(":")
listener = socket.create_server((host, int(port)))
store = redis.Redis.from_url(os.environ["HEADRACE_REDIS_URL"])
board = StatusBoard(store, "loop")
status = ServiceStatus(
    service=service.removeprefix("stand_in_"),
    instance=os.environ["HEADRACE_INSTANCE"],
    state="ready",
    address=f"{host}:{listener.getsockname()[1]}",
    note=" ".join([str(os.getpid()), *sys.argv[1:], os.environ["HEADRACE_DATA"]]),
)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
if service.endswith("broken"):
    sys.exit("no such setting")
print("ready", flush=True)
if service.endswith("hanging"):
    for _ in range(3):
        print("broker: cannot subscribe to t: Pulsar error: TimeOut", flush=True)
        time.sleep(0.3)
board.write(status)
while not signal.sigtimedwait({signal.SIGTERM}, 0.05) or service.endswith("stubborn"):
    board.write(status)
board.remove(status)
print("drained", flush=True)
"""


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded.store(tmp_path_factory.mktemp("store")) as store:
        yield store.url


@pytest.fixture
def board(store_url: str) -> Iterator[StatusBoard]:
    with redis.Redis.from_url(store_url) as client:
        client.flushdb()
        yield StatusBoard(client, "loop")


class Loop:
    """Supervisors of stand-in services over one data directory."""

    def __init__(self, data: Path, store_url: str) -> None:
        self.data = data
        self.reports: list[str] = []
        self._surroundings = Surroundings(
            "loop", data / "loop.json", data / "loop.py", data, "pulsar://nowhere", store_url
        )

    def take(self, report: str) -> None:
        """Record a report; leave out what a slow machine reports about waiting at the start."""
        if not report.startswith("waiting for"):
            self.reports.append(report)

    def supervisor(
        self,
        *kinds: str,
        workers: dict[str, int] | None = None,
        stop_s: float = 15.0,
        ready_s: float = 30.0,
        delays: Delays | None = None,
        repair: Callable[[str], str] = lambda words: "",
    ) -> Supervisor:
        return Supervisor(
            self._surroundings,
            services={kind: f"stand_in_{kind}" for kind in kinds},
            workers=workers,
            report=self.take,
            stop_s=stop_s,
            ready_s=ready_s,
            delays=delays or Delays(),
            repair=repair,
        )


@pytest.fixture
def loop(tmp_path: Path, store_url: str, board: StatusBoard, monkeypatch: pytest.MonkeyPatch) -> Loop:
    modules = tmp_path / "modules"
    modules.mkdir()
    for kind in ("one", "two", "stubborn", "broken", "hanging"):
        (modules / f"stand_in_{kind}.py").write_text(_SERVICE)
    monkeypatch.setenv("PYTHONPATH", f"{modules}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return Loop(tmp_path / "data", store_url)


def by_instance(statuses: list[ServiceStatus]) -> dict[str, ServiceStatus]:
    return {status.instance: status for status in statuses}


def test_all_are_ready_inside_the_block_and_gone_after_it(loop: Loop, board: StatusBoard) -> None:
    with loop.supervisor("one", "two", workers={"two": 2}) as supervisor:
        statuses = by_instance(supervisor.status())
        assert set(statuses) == {"one-0", "two-0", "two-1"} == set(supervisor.pids)
        assert len({status.address for status in statuses.values()}) == 3
        data = loop.data
        assert statuses["two-1"].note == f"{supervisor.pids['two-1']} --loop {data}/loop.json {data}/state/two"
    assert board.read() == []
    for log in ("one", "two", "two-1"):
        assert (data / "logs" / f"{log}.log").read_text().split() == ["ready", "drained"]
    assert loop.reports == []


def test_a_killed_one_comes_back_where_it_was_and_it_is_said(loop: Loop, board: StatusBoard) -> None:
    with loop.supervisor("one", "two") as supervisor:
        before = by_instance(board.read())
        victim = supervisor.pids["one-0"]
        os.kill(victim, signal.SIGKILL)
        until(lambda: supervisor.pids["one-0"] != victim and "one-0" in by_instance(board.read()))
        after = by_instance(board.read())
        assert after["one-0"].address == before["one-0"].address
        assert after["two-0"].note == before["two-0"].note
    assert len(loop.reports) == 1
    assert loop.reports[0].startswith("one-0 was killed by signal 9; starting it again in 0.2 s")


def test_what_the_process_before_said_does_not_make_its_successor_ready(loop: Loop, board: StatusBoard) -> None:
    board.write(ServiceStatus(service="broken", instance="broken-0", state="ready", address="127.0.0.1:1"))
    with pytest.raises(Unavailable):
        loop.supervisor("broken").__enter__()


def test_addresses_stay_over_a_restart_of_the_whole(loop: Loop, board: StatusBoard) -> None:
    with loop.supervisor("one", "two"):
        before = {status.instance: status.address for status in board.read()}
    with loop.supervisor("one", "two"):
        assert {status.instance: status.address for status in board.read()} == before


def test_one_that_cannot_start_ends_the_start_with_its_own_words(loop: Loop, board: StatusBoard) -> None:
    with pytest.raises(Unavailable, match=r"broken-0 does not come up: no such setting \(its log is .*broken\.log"):
        loop.supervisor("one", "broken").__enter__()
    assert board.read() == []
    assert [report.partition(";")[0] for report in loop.reports] == ["broken-0 exited with 1 (no such setting)"] * 3
    delays = [report.partition("again in ")[2].partition(" s")[0] for report in loop.reports]
    assert delays == ["0.2", "0.4", "0.8"]


def test_the_delay_is_bounded(loop: Loop) -> None:
    with pytest.raises(Unavailable):
        loop.supervisor("broken", delays=Delays(first=0.01, longest=0.02)).__enter__()
    delays = [report.partition("again in ")[2].partition(" s")[0] for report in loop.reports]
    assert delays[:3] == ["0.01", "0.02", "0.02"]


def test_one_that_does_not_become_ready_in_time_is_named(loop: Loop) -> None:
    supervisor = loop.supervisor("one", ready_s=0.0)
    with pytest.raises(Unavailable, match=r"not ready after 0 s: one-0 \(.*one\.log\)"):
        supervisor.__enter__()


def test_one_that_ignores_sigterm_is_killed_at_the_deadline(loop: Loop, board: StatusBoard) -> None:
    with loop.supervisor("stubborn", stop_s=0.2) as supervisor:
        child = supervisor.workers[0].child
        assert child is not None
    assert child.exit_code == -signal.SIGKILL
    assert board.read() == []
    assert loop.reports == ["stubborn-0 did not stop in 0.2 s and was killed"]


def test_a_stopped_process_is_ended_too(loop: Loop) -> None:
    with loop.supervisor("one", stop_s=0.2) as supervisor:
        os.kill(supervisor.pids["one-0"], signal.SIGSTOP)
        child = supervisor.workers[0].child
        assert child is not None
    assert child.exit_code == -signal.SIGKILL


def test_a_store_that_is_down_is_said(loop: Loop, tmp_path: Path) -> None:
    with embedded.store(tmp_path / "other") as store:
        supervisor = Supervisor(Surroundings("loop", tmp_path, tmp_path, tmp_path, "", store.url), services={})
        assert supervisor.status() == []
        store.kill()
        with pytest.raises(Unavailable, match="the online store does not answer"):
            supervisor.status()
        supervisor.stop()


def test_a_server_that_hangs_for_a_service_that_retries_is_mended(
    loop: Loop, board: StatusBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.embedded.processes._ATTEND_S", 0.05)
    heard: list[str] = []

    def repair(words: str) -> str:
        heard.append(words)
        return "repaired"

    with loop.supervisor("hanging", repair=repair) as supervisor:
        until(lambda: loop.reports, lambda reports: "repaired" in reports)
        assert supervisor.workers[0].unexpected_exits == 0
    assert all("cannot subscribe" in words for words in heard)


def test_one_that_ends_again_and_again_is_failed_with_the_cure(loop: Loop, board: StatusBoard) -> None:
    with loop.supervisor("one", delays=Delays(first=0.01, longest=0.01)) as supervisor:
        for ends in range(1, FAILED_AFTER + 1):
            os.kill(supervisor.pids["one-0"], signal.SIGKILL)
            until(lambda: supervisor.workers[0].unexpected_exits, lambda found, ends=ends: found == ends)  # type: ignore[misc]
            # Wait for the next process to report before killing it.
            if ends < FAILED_AFTER:
                until(lambda: by_instance(board.read()).get("one-0"), lambda found: found is not None)
    (failed,) = [report for report in loop.reports if "has failed" in report]
    assert "one-0 has failed: it ended 5 times within 60 s, the last time it was killed by signal 9" in failed
    assert str(supervisor.workers[0].log) in failed
