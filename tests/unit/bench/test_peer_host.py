"""The marks of rounds in which the host took CPU away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.peers.host import Disturbance, HostTime, disturbance, host_time


def test_counters_are_read_from_proc(tmp_path: Path) -> None:
    (tmp_path / "pressure").mkdir()
    (tmp_path / "stat").write_text("cpu  10 1 2 80 3 0 1 3 50 50\ncpu0 5 0 1 40 1 0 0 1 0 0\n")
    (tmp_path / "pressure" / "cpu").write_text("some avg10=9 avg60=9 avg300=9 total=1234\nfull avg10=0 total=77\n")
    found = host_time(tmp_path)
    assert (found.ticks, found.stolen_ticks, found.waiting) == (100, 3, 1234)


def test_a_kernel_may_not_count_waiting(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  10 1 2 80 3 0 1 3 0 0\n")
    assert host_time(tmp_path).waiting is None


def test_a_disturbance_is_a_share_of_the_time_between() -> None:
    before, after = HostTime(1.0, 1_000, 10, 0), HostTime(5.0, 1_800, 50, 1_000_000)
    assert disturbance(before, after) == Disturbance(0.05, 0.25)
    assert disturbance(before, HostTime(5.0, 1_800, 50, None)) == Disturbance(0.05, None)


@pytest.mark.parametrize(
    ("stolen", "waiting", "marked"),
    [(0.0, 0.05, False), (0.02, 0.0, True), (0.02, None, True), (0.0, 0.5, True), (0.0, None, False)],
)
def test_stolen_time_and_waiting_mark_a_round(stolen: float, waiting: float | None, marked: bool) -> None:
    assert Disturbance(stolen, waiting).is_marked is marked
