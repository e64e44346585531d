"""Durations."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.declare.durations import LONGEST, UNITS, format_duration, parse_duration


@given(st.integers(0, LONGEST))
def test_every_duration_is_read_as_it_was_written(duration: int) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(sorted(UNITS))), min_size=1, max_size=4))
def test_the_parts_of_a_duration_add_up(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert parse_duration(text) == sum(number * UNITS[unit] for number, unit in parts)


@given(st.text("0123456789smhdwu.- ", max_size=12))
def test_what_is_read_is_a_duration(text: str) -> None:
    try:
        duration = parse_duration(text)
    except ValueError:
        return
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("250ms", 250_000), ("1s", 1_000_000), ("15m", 900_000_000), ("3h", 10_800_000_000), ("1h30m", 5_400_000_000)],
)
def test_units(text: str, microseconds: int) -> None:
    assert parse_duration(text) == microseconds


def test_days_and_weeks() -> None:
    assert parse_duration("2w") == parse_duration("14d") == parse_duration(timedelta(days=14))


def test_durations_are_written_short() -> None:
    texts = ("0s", "1us", "90s", "36h", "8d", "14d", "365d")
    written = [format_duration(parse_duration(text)) for text in texts]
    assert written == ["0s", "1us", "1m30s", "1d12h", "8d", "2w", "365d"]


@pytest.mark.parametrize("value", ["", "3", "h", "3 h", "-3h", "3.5h", "3hours", "٣h", "3H", 3, None, timedelta(-1)])
def test_no_durations(value: object) -> None:
    with pytest.raises(ValueError, match=r"is no duration|is negative"):
        parse_duration(value)


def test_a_duration_that_does_not_fit_beside_times_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        parse_duration("999999w")
