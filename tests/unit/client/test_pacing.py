"""The speed of a player, on a clock that is moved by hand."""

from __future__ import annotations

import math

import pytest

from headrace.client.pacing import ClosedLoop, Slowest, TimedPace
from headrace.client.player import MachineClock, pace_of
from headrace.errors import InvalidRequest
from headrace.runtime.redis.status import ServiceStatus

SECOND = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.time = 50.0

    def __call__(self) -> float:
        return self.time


def test_events_go_when_their_time_has_come() -> None:
    clock = Clock()
    pace = TimedPace(60, clock)
    assert pace.window(7 * SECOND).events > 0
    assert pace.window(67 * SECOND) == (0, 7 * SECOND, 1.0)
    clock.time += 0.5
    assert pace.window(67 * SECOND) == (0, 37 * SECOND, 0.5)
    clock.time += 0.5
    assert pace.window(67 * SECOND).until == 67 * SECOND
    assert pace.window(67 * SECOND).events > 0


def test_events_close_together_travel_together() -> None:
    pace = TimedPace(1, Clock())
    pace.window(0)
    assert pace.window(1).wait_s == TimedPace.STEP_S


def test_no_more_events_go_than_the_loop_may_be_behind() -> None:
    pace = ClosedLoop(250, Clock(), slice_events=100)
    pace.reached(-math.inf)
    sent = []
    for time in range(4):
        window = pace.window(time)
        sent.append(window.events)
        pace.sent(window.events, time)
    assert sent == [100, 100, 50, 0]
    assert pace.outstanding == 250
    pace.reached(0)
    assert (pace.outstanding, pace.window(4).events) == (150, 100)
    pace.reached(2)
    assert pace.outstanding == 0


def test_a_play_begins_with_few_events_and_rises() -> None:
    clock = Clock()
    pace = ClosedLoop(20_000, clock, slice_events=10_000)
    pace.reached(-math.inf)
    clock.time += 100
    assert pace.window(0).events == ClosedLoop.FIRST
    pace.sent(ClosedLoop.FIRST, 0)
    assert pace.window(1) == (0, math.inf, 0.1)
    clock.time += 0.5
    assert pace.window(1).events == ClosedLoop.RISE // 2
    clock.time += 5
    assert pace.window(1).events == 10_000
    pace.sent(18_000, 1)
    assert pace.window(2).events == 0


def test_a_loop_that_does_not_move_is_not_waited_for_for_ever() -> None:
    clock = Clock()
    pace = ClosedLoop(10, clock, patience_s=5)
    pace.reached(0)
    pace.sent(10, 7)
    clock.time += 4.9
    assert (pace.window(8).events, pace.stalls) == (0, 0)
    clock.time += 0.2
    assert (pace.window(8).events, pace.stalls) == (10, 1)
    pace.sent(10, 8)
    assert pace.window(9).events == 0


def test_a_loop_that_moves_slowly_is_waited_for() -> None:
    clock = Clock()
    pace = ClosedLoop(10, clock, patience_s=5)
    pace.reached(0)
    for time in range(1, 11):
        pace.sent(1, time)
    for watermark in range(1, 4):
        clock.time += 4
        pace.reached(watermark)
        assert (pace.window(11).events, pace.stalls) == (1, 0)
        pace.sent(1, 10 + watermark)
        assert pace.window(11).events == 0


def test_a_loop_that_works_off_what_stalled_is_waited_for() -> None:
    clock = Clock()
    pace = ClosedLoop(10, clock, patience_s=5)
    pace.reached(0)
    pace.sent(10, 100)
    clock.time += 5
    assert (pace.window(101).events, pace.stalls) == (10, 1)
    pace.sent(10, 200)
    for watermark in range(10, 100, 10):
        clock.time += 4
        pace.reached(watermark)
        assert (pace.window(201).events, pace.stalls) == (0, 1)
    clock.time += 5
    assert (pace.window(201).events, pace.stalls) == (10, 2)


def test_without_anybody_to_wait_for_nothing_waits() -> None:
    pace = ClosedLoop(10, Clock())
    pace.sent(10, 0)
    assert pace.window(1).events == 0
    pace.reached(None)
    assert pace.window(1).events > 0


def status(service: str, watermark: int | None, instance: str = "1") -> ServiceStatus:
    return ServiceStatus(service=service, instance=instance, watermark=watermark)


def test_the_slowest_counts() -> None:
    slowest = Slowest()
    assert slowest([status("ingest", 1)]) is None
    assert slowest([status("feature", None), status("learner", None), status("scorer", None)]) == -math.inf
    assert slowest([status("feature", 9), status("learner", None)]) == 9
    assert slowest([status("feature", 9), status("learner", 7), status("scorer", 8)]) == 7
    assert slowest([status("feature", 9), status("feature", 5, "2"), status("learner", 7), status("scorer", 8)]) == 5


def test_a_worker_that_owns_nothing_holds_nobody_back() -> None:
    assert Slowest()([status("feature", 9), status("feature", None, "2")]) == 9


def test_who_is_gone_is_waited_for() -> None:
    slowest = Slowest()
    slowest([status("feature", 9), status("learner", 7)])
    assert slowest([status("feature", 20)]) == 7
    assert slowest([]) == 7
    assert slowest([status("feature", 20), status("learner", 11, "restarted")]) == 11


@pytest.mark.parametrize("speed", ["fast", 0, -1, math.inf, math.nan])
def test_a_speed_is_positive(speed: object) -> None:
    with pytest.raises(InvalidRequest, match=r"speed is .*expected realtime, max, or"):
        pace_of(speed, 10, MachineClock())  # type: ignore[arg-type]
