"""The crash suite in its short form, and its second scenario; `make crash` runs longer ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash import late, report
from tests.crash.faults import Fault, Kind, lasts, schedule
from tests.crash.grounds import Grounds
from tests.crash.load import Load
from tests.crash.run import both, disturbed, undisturbed

pytestmark = pytest.mark.official

SEED, KILLS, GAP = 5, 10, 1.6

LATE = Load(seed=9, seconds=20.0, rate=150, disorder=30.0)


def test_nothing_is_lost_and_nothing_counted_twice(grounds: Grounds, tmp_path: Path) -> None:
    planned = schedule(SEED, KILLS, GAP)
    result = both(grounds, tmp_path, Load(SEED, lasts(planned), rate=150), planned, say=print)
    print(report.table(result), report.line(result), sep="\n")
    assert result.comparison.differences == []
    assert result.passed, f"again: python -m tests.crash --kills {KILLS} --seed {SEED} --gap {GAP} --rate 150"


def test_late_events_and_a_short_wait(grounds: Grounds, tmp_path: Path) -> None:
    planned = [
        Fault(2.0, Kind.SUSPEND, "feature-1", 11.0),
        Fault(1.0, Kind.KILL, "feature-0", alone=True),
        Fault(2.0, Kind.SILENCE_STORE, "feature-0", 2.0),
        Fault(3.0, Kind.KILL, "scorer-0", alone=True),
        Fault(1.0, Kind.KILL, "learner-0", alone=True),
        Fault(2.0, Kind.CUT_BROKER, "feature-0", 1.0),
        Fault(4.0, Kind.KILL, "feature-1", alone=True),
    ]
    run = disturbed(
        grounds, tmp_path / "disturbed", LATE, planned, loop_file=late.LOOP, check=late.recomputed, say=print
    )
    comparison = late.compare(run.outcome, undisturbed(grounds, tmp_path / "undisturbed", LATE, loop_file=late.LOOP))
    assert not run.unfinished
    assert comparison.differences == []
    assert comparison.passed
    assert comparison.dead_letters > LATE.seconds
