"""When a call is tried again, on a clock that is moved by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from headrace.client.attempts import Attempts, CallRules
from headrace.client.failures import Peer
from headrace.errors import DeadlineExceeded, InvalidRequest, Overloaded, Unavailable

PEER = Peer("scorer", "here:1")


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def attempts(
    clock: Clock | None = None, *, retries: int = 3, jitter: float = 0.0, timeout: float | None = None
) -> Attempts:
    rules = CallRules(PEER, timeout=10.0, retries=retries, concurrency=1)
    return Attempts(rules, timeout, clock=clock or Clock(), jitter=lambda: jitter)


def test_pauses_grow_and_end() -> None:
    call, error = attempts(), Unavailable("away")
    assert [call.pause_after(error) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.4])
    with pytest.raises(Unavailable) as raised:
        call.pause_after(error)
    assert raised.value is error


def test_pauses_are_bounded() -> None:
    call = attempts(retries=20, timeout=1e9)
    assert [call.pause_after(Unavailable("away")) for _ in range(20)][-1] == 2.0


def test_pauses_are_spread() -> None:
    assert attempts(jitter=1.0).pause_after(Unavailable("away")) == pytest.approx(0.15)


def test_the_service_says_when_to_come_back() -> None:
    assert attempts().pause_after(Overloaded("full", 3.0)) == 3.0
    assert attempts(jitter=1.0).pause_after(Overloaded("full", 3.0)) == 4.5


def test_no_pause_goes_beyond_the_deadline() -> None:
    clock = Clock()
    call = attempts(clock)
    assert call.remaining_s() == 10.0
    clock.time += 8
    with pytest.raises(Overloaded, match="full"):
        call.pause_after(Overloaded("full", 2.5))
    assert call.pause_after(Unavailable("away")) > 0
    clock.time += 2
    with pytest.raises(DeadlineExceeded, match="scorer at here:1 does not answer: no answer within 10 s"):
        call.remaining_s()


def test_a_call_has_its_own_timeout_or_none() -> None:
    assert attempts(timeout=0.5).remaining_s() == 0.5
    assert attempts(timeout=math.inf).remaining_s() is None


def test_a_call_whose_time_is_over_is_not_repeated() -> None:
    with pytest.raises(DeadlineExceeded):
        attempts().pause_after(DeadlineExceeded("late"))


@pytest.mark.parametrize(
    ("wrong", "field"), [({"timeout": 0.0}, "timeout"), ({"retries": -1}, "retries"), ({"concurrency": 0}, "concurr")]
)
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, Any], field: str) -> None:
    rules: dict[str, Any] = {"peer": PEER, "timeout": 1.0, "retries": 1, "concurrency": 1} | wrong
    with pytest.raises(InvalidRequest, match=field):
        CallRules(**rules)
