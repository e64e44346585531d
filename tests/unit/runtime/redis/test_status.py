"""When, and how often, a status is written."""

from __future__ import annotations

import threading
from typing import Any, cast

import msgspec
import pytest
import redis

from headrace.runtime.redis import status
from headrace.runtime.redis.status import LIFE, PERIOD, QUIET, Heartbeat, Pace, ServiceStatus


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Board:
    def __init__(self) -> None:
        self.written: list[ServiceStatus] = []
        self.away = False

    def write(self, status: ServiceStatus) -> None:
        if self.away:
            raise redis.ConnectionError
        self.written.append(msgspec.structs.replace(status))


def heartbeat(board: Board, clock: Clock) -> Heartbeat:
    status = ServiceStatus(service="feature", instance="feature-0", state="ready")
    return Heartbeat(cast(Any, board), status, clock)


def beat_for(heart: Heartbeat, clock: Clock, seconds: float) -> None:
    for _ in range(int(seconds / PERIOD)):
        clock.now += PERIOD
        heart.beat()


def test_an_unchanged_status_is_written_now_and_then() -> None:
    board, clock = Board(), Clock()
    beat_for(heartbeat(board, clock), clock, 10 * QUIET)
    assert len(board.written) == 10


def test_a_change_is_written_with_the_next_beat() -> None:
    board, clock = Board(), Clock()
    heart = heartbeat(board, clock)
    heart.beat()
    for watermark in (1, 2, 3):
        heart.status.watermark = watermark
        beat_for(heart, clock, PERIOD)
    assert [status.watermark for status in board.written] == [None, 1, 2, 3]


def test_a_rate_falls_to_zero_once_nothing_happens() -> None:
    board, clock = Board(), Clock()
    heart = heartbeat(board, clock)
    heart.count("events", 100)
    beat_for(heart, clock, 1.0)
    assert board.written[-1].rates == {"events": 100.0}
    beat_for(heart, clock, 2.0)
    assert board.written[-1].rates == {"events": 0.0}


def test_what_a_store_refused_is_written_with_the_next_beat() -> None:
    board, clock = Board(), Clock()
    heart = heartbeat(board, clock)
    board.away = True
    try:
        heart.beat()
    except redis.RedisError:
        board.away = False
    beat_for(heart, clock, PERIOD)
    assert len(board.written) == 1


def test_something_that_happened_ends_a_quiet_wait() -> None:
    pace = Pace(quiet=3_600.0)
    threading.Timer(0.0, pace.wake).start()
    assert pace.wait()


def test_what_others_wait_for_ends_every_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "PERIOD", 3_600.0)
    pace = Pace(quiet=3_600.0)
    threading.Timer(0.0, lambda: pace.wake(at_once=True)).start()
    assert pace.wait()


def test_what_happens_during_a_beat_is_told_by_the_next() -> None:
    pace = Pace(quiet=3_600.0)
    pace.wake()
    assert pace.wait()
    pace.wake()
    assert pace.wait()


def test_an_ended_pace_waits_no_more() -> None:
    pace = Pace(quiet=3_600.0)
    pace.end()
    assert not pace.wait()
    assert pace.ended


def test_a_status_outlives_several_quiet_beats() -> None:
    assert LIFE >= 4 * QUIET
