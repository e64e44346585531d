"""The vectors of the flights demo, computed from its four lists of events."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.reference.windows import DAY, HOUR, MINUTE, Event, View, Window

THREE_HOURS = Window(3 * HOUR, 15 * MINUTE)
ONE_DAY = Window(24 * HOUR, 2 * HOUR)
THIRTY_DAYS = Window(30 * DAY, 1 * DAY)

ENTITIES: Mapping[str, tuple[str, ...]] = {
    "carrier": ("carrier",),
    "origin": ("origin",),
    "dest": ("dest",),
    "route": ("origin", "dest"),
    "tail": ("tail",),
}
WEATHER = ("temperature", "humidity", "wind", "rain", "visibility")


def flight_vectors(streams: Mapping[str, Sequence[Event]]) -> dict[str, dict[str, float]]:
    """The vector of every scheduled flight, by its id; NaN is missing.

    Parameters
    ----------
    streams
        The events of `scheduled`, `departed`, `arrived` and `weather`, their times in µs since the epoch.
    """
    departed, arrived = streams["departed"], streams["arrived"]
    departures = {who: View(departed, by, _field("departure_delay")) for who, by in ENTITIES.items()}
    arrivals = {who: View(arrived, by, _field("arrival_delay")) for who, by in ENTITIES.items()}
    habit = View(arrived, ("number",), lambda event: _clip(event["arrival_delay"], -30, 60))
    weather = {name: View(streams["weather"], ("origin",), _field(name)) for name in WEATHER}

    def vector(flight: Event) -> dict[str, float]:
        at = flight["at"]
        values: dict[str, float] = {}
        for kind, views in (("departures", departures), ("arrivals", arrivals)):
            for who, by in ENTITIES.items():
                entity = tuple(flight[name] for name in by)
                for name, window in (("3h", THREE_HOURS), ("24h", ONE_DAY)):
                    delay = views[who].read("mean", window, entity, at)
                    values[f"{who}_{kind}.delay.{name}.signed_log"] = _signed_log(delay)
        last = departures["tail"].read("last", ONE_DAY, (flight["tail"],), at)
        values["tail_departures.last_delay.24h.signed_log"] = _signed_log(last)
        values["habit.delay.30d"] = habit.read("mean", THIRTY_DAYS, (flight["number"],), at)

        now = {name: weather[name].read("last", THREE_HOURS, (flight["origin"],), at) for name in WEATHER}
        values["weather.temperature.3h"] = now["temperature"]
        values["heat"] = _clip(now["temperature"], 65, 100)
        values["weather.humidity.3h"] = now["humidity"]
        values["weather.wind.3h.clip(0,60)"] = _clip(now["wind"], 0, 60)
        values["rain"] = math.log1p(now["rain"] * 100)
        values["weather.visibility.3h"] = now["visibility"]

        hour = float(flight["clock"] // HOUR % 24)
        weekday = float((flight["clock"] // DAY + 3) % 7)  # 1 January 1970 was a Thursday
        values["clock.hour"] = hour
        values["early"] = _clip(hour, 5, 8)
        values["evening"] = _clip(hour, 18, 23)
        values["clock.weekday"] = weekday
        values["saturday"] = float(weekday == 5)
        values["distance"] = flight["distance"]
        return values

    return {str(flight["flight"]): vector(flight) for flight in streams["scheduled"]}


def _field(name: str) -> Callable[[Event], Any]:
    return lambda event: event[name]


def _signed_log(value: float) -> float:
    return math.copysign(math.log1p(abs(value)), value)


def _clip(value: float, low: float, high: float) -> float:
    return value if math.isnan(value) else min(max(value, low), high)
