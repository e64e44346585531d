"""When the silence of a source is reported."""

from __future__ import annotations

from headrace_feature.reading import Silence


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def reports(silence: Silence, clock: Clock, seconds: int) -> list[float]:
    """When it was due, looked at each second."""
    found = []
    for _ in range(seconds):
        clock.now += 1.0
        if silence.due():
            silence.reported()
            found.append(clock.now)
    return found


def test_a_silence_is_reported_ever_less_often() -> None:
    clock = Clock()
    assert reports(Silence(4.5, clock), clock, 80) == [5, 10, 20, 34, 53, 72]


def test_a_silence_begins_again_once_the_source_speaks() -> None:
    clock = Clock()
    silence = Silence(4.5, clock)
    reports(silence, clock, 50)
    silence.end()
    assert reports(silence, clock, 12) == [55, 60]


def test_a_silence_that_could_not_be_reported_is_due_again() -> None:
    clock = Clock()
    silence = Silence(4.5, clock)
    due = []
    for clock.now in range(1, 21):
        if silence.due():
            due.append(clock.now)
    assert due == [5, 10, 15, 20]
