from __future__ import annotations

import math
import statistics
from typing import Any

import pytest

from tests.reference.windows import HOUR, MINUTE, SECOND, View, Window

THREE_HOURS = Window(3 * HOUR, 15 * MINUTE)


def events(*times: int) -> list[dict[str, object]]:
    """One event a time, worth 1, 2, 4, …"""
    return [{"who": "a", "at": at, "worth": 2.0**index} for index, at in enumerate(times)]


def read(aggregate: str, at: int, *times: int) -> float:
    return View(events(*times), ("who",), lambda event: event["worth"]).read(aggregate, THREE_HOURS, ("a",), at)


@pytest.mark.parametrize("at", [10 * HOUR, 10 * HOUR + 15 * MINUTE - 1])
def test_the_tail_moves_in_hops(at: int) -> None:
    start = 10 * HOUR - 3 * HOUR + 15 * MINUTE
    assert read("sum", at, start - 1, start) == 2.0


def test_the_head_is_exact_to_the_tick_that_does_not_see_itself() -> None:
    at = 10 * HOUR + 5 * SECOND + 7
    assert read("sum", at, 10 * HOUR + 5 * SECOND - 1, 10 * HOUR + 5 * SECOND, at) == 1.0


@pytest.mark.parametrize(
    ("aggregate", "value"),
    [
        ("count", 3),
        ("sum", 7),
        ("mean", 7 / 3),
        ("min", 1),
        ("max", 4),
        ("std", statistics.stdev([1, 2, 4])),
        ("last", 4),
    ],
)
def test_every_aggregate(aggregate: str, value: float) -> None:
    at = 10 * HOUR
    assert read(aggregate, at, at - 4, at - 3, at - 2) == pytest.approx(value, rel=1e-15)


def test_nothing_is_missing_but_counts_and_sums() -> None:
    assert [read(own, HOUR) for own in ("count", "sum")] == [0.0, 0.0]
    assert all(math.isnan(read(own, HOUR)) for own in ("mean", "min", "max", "std", "last"))
    assert math.isnan(read("std", HOUR, HOUR - 1))


def test_missing_values_and_entities_and_what_is_filtered_out_do_not_count() -> None:
    stream: list[dict[str, Any]] = [
        {"who": "a", "at": 1, "worth": 1.0},
        {"who": "a", "at": 2, "worth": None},
        {"who": None, "at": 3, "worth": 2.0},
        {"who": "b", "at": 4, "worth": 4.0},
        {"who": "a", "at": 5, "worth": -8.0},
    ]
    view = View(stream, ("who",), lambda event: event["worth"], where=lambda event: event["at"] < 5)
    assert view.read("count", THREE_HOURS, ("a",), HOUR) == 1.0
    assert view.read("last", THREE_HOURS, ("a",), HOUR) == 1.0
    assert view.read("count", THREE_HOURS, (None,), HOUR) == 0.0
