from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from headrace.demo.dataset import first, streams, write


@pytest.fixture(scope="module")
def year() -> dict[str, pd.DataFrame]:
    return streams()


def test_every_flight_is_announced_and_what_flew_to_its_end_is_labelled(year: dict[str, pd.DataFrame]) -> None:
    assert {name: len(events) for name, events in year.items()} == {
        "scheduled": 336_776,
        "departed": 328_521,
        "arrived": 327_346,
        "weather": 26_115,
    }


@pytest.mark.parametrize(
    ("stream", "id"), [("scheduled", "flight"), ("departed", "flight"), ("arrived", "flight"), ("weather", "report")]
)
def test_ids_are_unique_and_times_rise(year: dict[str, pd.DataFrame], stream: str, id: str) -> None:
    assert year[stream][id].is_unique
    assert year[stream]["at"].is_monotonic_increasing


def test_only_what_no_stream_may_lack_is_always_there(year: dict[str, pd.DataFrame]) -> None:
    lacking = {(name, column) for name, events in year.items() for column in events if events[column].isna().any()}
    instruments = {("weather", name) for name in ("temperature", "dew_point", "humidity", "wind", "pressure")}
    assert lacking == {("scheduled", "tail")} | instruments


def test_a_departure_past_midnight_is_on_the_next_day(year: dict[str, pd.DataFrame]) -> None:
    scheduled = year["scheduled"].set_index("flight")["departs"]
    departed = year["departed"].set_index("flight")
    delay = departed["at"] - scheduled.loc[departed.index]
    assert (delay == pd.to_timedelta(departed["departure_delay"], unit="min")).all()
    assert delay.max() == pd.Timedelta(minutes=1301)


def test_an_arrival_follows_its_departure_by_the_time_in_the_air_and_on_the_ground(
    year: dict[str, pd.DataFrame],
) -> None:
    departed = year["departed"].set_index("flight")["at"]
    arrived = year["arrived"].set_index("flight")["at"]
    assert arrived["UA1545-EWR-2013-01-01"] == pd.Timestamp("2013-01-01 05:17", tz="America/New_York") + pd.Timedelta(
        minutes=227 + 30
    )
    assert (arrived - departed.loc[arrived.index]).min() > pd.Timedelta(minutes=30)


def test_the_model_is_asked_two_hours_ahead_in_any_clock(year: dict[str, pd.DataFrame]) -> None:
    scheduled = year["scheduled"]
    assert (scheduled["departs"] - scheduled["at"] == pd.Timedelta(hours=2)).all()
    local = scheduled["departs"].dt.tz_convert("America/New_York").dt.tz_localize(None)
    assert (local == scheduled["clock"].dt.tz_localize(None)).all()


def test_the_first_events_are_those_of_all_streams_together(tmp_path: Path, year: dict[str, pd.DataFrame]) -> None:
    tables = {name: pq.read_table(path) for name, path in write(tmp_path / "new", first(1_000, year)).items()}
    assert sum(table.num_rows for table in tables.values()) == 1_000
    last = max(table["at"][-1].as_py() for table in tables.values())
    left_out = [events["at"].iloc[tables[name].num_rows] for name, events in year.items()]
    assert last <= min(left_out)
