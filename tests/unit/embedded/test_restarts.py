"""When an ended process is restarted, and when it counts as failed; how long a start may take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from headrace.embedded import Servers, data_directory
from headrace.embedded.child import Patience, _reason
from headrace.embedded.processes import kernel_is_compiled
from headrace.embedded.restarts import FAILED_AFTER, Delays, Restarts
from headrace.embedded.server_failures import read_failures, write_failures
from headrace.embedded.server_keeper import Keeper
from headrace.embedded.servers import Server
from headrace.errors import Unavailable
from tests.deadline import until


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_delays_grow_to_a_bound_and_begin_again_after_a_steady_run() -> None:
    clock = Clock()
    restarts = Restarts(Delays(first=1, longest=3, steady=30), clock)
    assert [restarts.ended() for _ in range(4)] == [1, 2, 3, 3]
    restarts.started()
    clock.now = 31
    assert restarts.ended() == 1
    assert restarts.count == 5


def test_ends_in_a_row_are_a_failure_and_ends_far_apart_are_none() -> None:
    clock = Clock()
    restarts = Restarts(clock=clock)
    for _ in range(FAILED_AFTER):
        assert not restarts.failed
        restarts.ended()
    assert restarts.failed
    assert "ended 5 times within 60 s, the last time it exited with 1 (no disk). Its log is x.log" in restarts.verdict(
        "exited with 1 (no disk)", "x.log"
    )
    clock.now += 61
    restarts.ended()
    assert not restarts.failed


def test_a_start_is_waited_for_as_long_as_something_moves() -> None:
    clock = Clock()
    patience = Patience(90, clock)
    for second in range(0, 600, 50):
        clock.now = second
        patience.saw(patience.busy(cpu_s=0.2 * second))
        assert not patience.is_over
    # An occasional retry does not count as progress.
    for second in range(600, 689, 10):
        clock.now = second
        patience.saw(patience.busy(cpu_s=110 + 0.001 * second))
    clock.now = 691
    assert patience.is_over


def test_the_reason_is_taken_out_of_a_line_of_the_log() -> None:
    assert _reason('{"event": "service_failed", "reason": "no such file"}') == "no such file"
    assert _reason('{"event": "stopped"}') == "stopped"
    assert _reason("usage: headrace-learner") == "usage: headrace-learner"
    assert _reason("7") == "7"


def test_the_kernel_is_compiled_once_its_cache_holds_it(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert not kernel_is_compiled()
    (tmp_path / "kernel_1").mkdir()
    (tmp_path / "kernel_1" / "tiles._fold-1.py311.nbi").touch()
    assert kernel_is_compiled()


class Flaky(Server):
    """A server that ends, and comes back after some attempts."""

    name = "broker"
    url = "pulsar://nowhere"
    pid = 1

    def __init__(self, fails: int) -> None:
        self.ended = True
        self.tries = 0
        self._fails = fails
        self.paused: list[bool] = []

    def pause(self) -> None:
        self.paused.append(True)

    def resume(self) -> None:
        self.paused.append(False)

    @property
    def has_ended(self) -> bool:
        return self.ended

    def restart(self) -> None:
        self.tries += 1
        if self.tries <= self._fails:
            self.ended = False  # as for a child that was released
            raise Unavailable("its port is taken")
        self.ended = False

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...


def test_a_server_that_ended_is_started_until_it_runs(tmp_path: Path) -> None:
    lines: list[str] = []
    server = Flaky(fails=2)
    keeper = Keeper([server], tmp_path, say=lines.append, keeps=lambda: True)
    keeper.start()
    until(lambda: lines[-1:] == ["the broker runs again, on the data that it had"])
    keeper.stop()
    assert server.tries == 3
    assert lines[0].startswith("the broker ended; starting it again on the same data in 0.2 s")
    assert "could not be started: its port is taken" in lines[1]
    assert keeper.failures == {}


def test_a_server_without_its_data_is_not_started(tmp_path: Path) -> None:
    looked: list[bool] = []
    server = Flaky(fails=0)
    keeper = Keeper([server], tmp_path, say=lambda text: None, keeps=lambda: bool(looked.append(True)))
    keeper.start()
    until(lambda: len(looked) > 1)
    keeper.stop()
    assert server.tries == 0


def test_a_server_that_keeps_ending_is_reported_until_it_runs(tmp_path: Path) -> None:
    changes: list[Mapping[str, str]] = []
    keeper = Keeper(
        [Flaky(fails=FAILED_AFTER)],
        tmp_path,
        say=lambda text: None,
        keeps=lambda: True,
        on_failures=changes.append,
        delays=Delays(first=0.0, longest=0.0),
    )
    keeper.start()
    until(lambda: {} in changes)
    keeper.stop()
    assert "could not be started: its port is taken" in changes[0]["broker"]
    assert "remove the cause" in changes[0]["broker"]


def test_failures_of_servers_are_read_from_the_data_directory(tmp_path: Path) -> None:
    assert read_failures(tmp_path) == []
    write_failures(tmp_path, {"store": "ended 5 times"})
    assert read_failures(tmp_path) == ["the store has failed: it ended 5 times"]
    write_failures(tmp_path, {})
    assert read_failures(tmp_path) == []


def test_a_damaged_file_of_failures_is_ignored(tmp_path: Path) -> None:
    write_failures(tmp_path, {"store": "ended 5 times"})
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    assert read_failures(tmp_path) == []


def test_servers_are_paused_while_their_disk_is_full(tmp_path: Path) -> None:
    full, server = [True], Flaky(fails=0)
    keeper = Keeper([server], tmp_path, say=lambda text: None, keeps=lambda: True, is_full=lambda: full[0])
    keeper.start()
    # Paused at first, and again as it was started meanwhile.
    until(lambda: server.paused == [True, True])
    full[0] = False
    until(lambda: server.paused == [True, True, False])
    full[0] = True
    until(lambda: server.paused == [True, True, False, True])
    keeper.stop()
    assert server.paused == [True, True, False, True, False]


def test_a_broker_that_is_paused_counts_as_no_hung_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_directory, "_LEAST_ROOM", 2**62)
    assert Servers(tmp_path).repair("cannot subscribe to payments-payment: TimeOut") == ""
