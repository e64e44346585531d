"""The progress that a scorer reports."""

from __future__ import annotations

from headrace_scorer.status import ScoringProgress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_partition_that_moved_to_another_scorer_holds_nobody_back() -> None:
    clock = Clock()
    progress = ScoringProgress(clock)
    assert progress.watermark is None
    progress.reached("0", 5)
    progress.reached("1", 3)
    assert progress.watermark == 3
    clock.now = 4.0
    progress.reached("0", 9)
    assert progress.watermark == 3
    clock.now = 6.0
    progress.reached("0", 12)
    assert progress.watermark == 12


def test_while_all_are_silent_the_last_that_is_behind_counts() -> None:
    clock = Clock()
    progress = ScoringProgress(clock)
    progress.reached("0", 5)
    progress.reached("1", 3)
    clock.now = 100.0
    assert progress.watermark == 3
