from __future__ import annotations

import io
from collections import Counter

import pytest
from rich.console import Console

from headrace.demo import board
from headrace.demo.samples import Sample
from headrace.engine.quality import Point
from headrace.wire.times import Inactive, WireTime

METRICS = {"roc_auc": 0.76, "log_loss": 0.46, "accuracy": 0.8, "prior_log_loss": 0.55, "no_change_accuracy": 0.72}
SAMPLE = Sample(
    wall_s=61.0,
    played=400_000,
    watermark=1_368_000_000_000_000,
    counts=Counter({"feature.events": 390_000, "scorer.dead_letters": 2, "feature.dead_letters": 1}),
    version=120_000,
    metrics={"drift_alarms": 3.0},
    points=[Point(1_368_000_000_000_000, 90_000, 5_000, METRICS)],
    states={"feature-0": "ready", "learner-0": "starting"},
)


def shown(sample: Sample) -> str:
    text = io.StringIO()
    Console(width=120, file=text).print(board.board(sample, {"feature.events": 6_000.0}, 1_000_000))
    return text.getvalue()


def test_the_board_tells_how_far_how_fast_and_how_well() -> None:
    text = shown(SAMPLE)
    for part in (
        "08 May 2013",
        "400,000 of 1,000,000",
        "390,000",
        "6,000",
        "10,000",
        "0.760",
        "prior 0.550",
        "learner-0",
    ):
        assert part in text


def test_a_line_tells_the_same_on_one_line() -> None:
    line = board.line(SAMPLE, {"feature.events": 6_000.0})
    assert "\n" not in line
    for part in ("61 s", "08 May 2013", "390,000 events (6,000/s)", "AUC 0.760", "(prior 0.550)", "(no change 0.720)"):
        assert part in line


def test_before_anything_was_learned_there_is_a_board_all_the_same() -> None:
    nothing = Sample(0.0, 0)
    assert "not yet" in shown(nothing)
    assert "AUC" not in board.line(nothing, {})


def test_dead_letters_are_those_of_all_services() -> None:
    assert board.dead_letters(SAMPLE) == 3


@pytest.mark.parametrize(
    ("watermark", "text"),
    [(None, "not yet"), (0, "01 Jan 1970"), (Inactive.ENDED, "the end")],
)
def test_a_date_is_told_where_there_is_one(watermark: WireTime, text: str) -> None:
    assert board.date(watermark) == text


@pytest.mark.parametrize(
    ("values", "bars"), [([], ""), ([1.0], "▁"), ([0.0, 1.0], "▁█"), ([2.0, 2.0], "▁▁"), (list(range(8)), "▁▂▃▄▅▆▇█")]
)
def test_a_sparkline_goes_from_the_least_to_the_greatest(values: list[float], bars: str) -> None:
    assert board.sparkline(values) == bars


def test_a_sparkline_fits_its_width() -> None:
    assert len(board.sparkline([float(value) for value in range(300)], width=40)) == 40
