"""Will this flight arrive more than 15 minutes late? The question comes two hours before it is due to leave New York.

The label arrives about five hours later, when the flight has landed; `headrace check` explains the whole loop.
"""

from __future__ import annotations

from datetime import datetime

from river.linear_model import LogisticRegression
from river.optim import AdaGrad
from river.preprocessing import StandardScaler

from headrace import Field, Label, Last, Loop, Mean, Model, Stream, View

# A player marks how far each stream is, so silence never means that a stream is idle.
loop = Loop("flights", idle="1h")

# The events, each at the time it becomes known ------------------------------------------------------


class Scheduled(Stream, key="flight", time="at", id="flight"):
    """A flight two hours before its scheduled departure; the tail number is not always known yet."""

    flight: Field[str]
    at: Field[datetime]
    carrier: Field[str]
    number: Field[str]
    origin: Field[str]
    dest: Field[str]
    tail: Field[str | None]
    departs: Field[datetime]
    clock: Field[datetime]  # New York's local time, at the scheduled departure
    distance: Field[float]


class Departed(Stream, key="flight", time="at", id="flight"):
    """A flight at its actual departure."""

    flight: Field[str]
    at: Field[datetime]
    carrier: Field[str]
    number: Field[str]
    origin: Field[str]
    dest: Field[str]
    tail: Field[str]
    departure_delay: Field[float]  # minutes


class Arrived(Departed, key="flight", time="at", id="flight"):
    """A flight at the gate of its destination."""

    arrival_delay: Field[float]  # minutes


class Weather(Stream, key="origin", time="at", id="report"):
    """An hourly report from each of the three airports."""

    report: Field[str]
    at: Field[datetime]
    origin: Field[str]
    temperature: Field[float | None]
    dew_point: Field[float | None]
    humidity: Field[float | None]
    wind: Field[float | None]
    rain: Field[float | None]
    pressure: Field[float | None]
    visibility: Field[float | None]


# Features of each carrier, airport, route and aircraft ----------------------------------------------

RECENTLY = ["3h", "24h"]
left = {"delay": Mean(Departed.departure_delay)}
landed = {"delay": Mean(Arrived.arrival_delay)}

carrier_departures = View(Departed, by="carrier", windows=RECENTLY, aggregates=left)
origin_departures = View(Departed, by="origin", windows=RECENTLY, aggregates=left)
dest_departures = View(Departed, by="dest", windows=RECENTLY, aggregates=left)
route_departures = View(Departed, by=["origin", "dest"], windows=RECENTLY, aggregates=left)
tail_departures = View(
    Departed, by="tail", windows=RECENTLY, aggregates={**left, "last_delay": Last(Departed.departure_delay)}
)

carrier_arrivals = View(Arrived, by="carrier", windows=RECENTLY, aggregates=landed)
origin_arrivals = View(Arrived, by="origin", windows=RECENTLY, aggregates=landed)
dest_arrivals = View(Arrived, by="dest", windows=RECENTLY, aggregates=landed)
route_arrivals = View(Arrived, by=["origin", "dest"], windows=RECENTLY, aggregates=landed)
tail_arrivals = View(Arrived, by="tail", windows=RECENTLY, aggregates=landed)

# UA1545 leaves nearly every day: how late does it usually arrive? The clip keeps one bad day from dominating a month.
habit = View(
    Arrived,
    by="number",
    windows="30d",
    derive={"bounded_delay": Arrived.arrival_delay.clip(-30, 60)},
    aggregates={"delay": Mean("bounded_delay")},
)

weather = View(
    Weather,
    by="origin",
    windows="3h",
    aggregates={
        "temperature": Last("temperature"),
        "humidity": Last("humidity"),
        "wind": Last("wind"),
        "rain": Last("rain"),
        "visibility": Last("visibility"),
    },
)

# The model -----------------------------------------------------------------------------------------

late = Label(Arrived, of=Scheduled, value=Arrived.arrival_delay > 15, within="48h")

hour = Scheduled.clock.hour
weekday = Scheduled.clock.weekday

late_arrival = Model(
    on=Scheduled,
    label=late,
    features=[
        # Delays have long tails: a delay of 13 hours is not 40 times as informative as one of 20 minutes.
        carrier_departures["delay"].signed_log(),
        carrier_arrivals["delay"].signed_log(),
        origin_departures["delay"].signed_log(),
        origin_arrivals["delay"].signed_log(),
        dest_departures["delay"].signed_log(),
        dest_arrivals["delay"].signed_log(),
        route_departures["delay"].signed_log(),
        route_arrivals["delay"].signed_log(),
        tail_departures["delay"].signed_log(),
        tail_arrivals["delay"].signed_log(),
        tail_departures["last_delay", "24h"].signed_log(),
        habit["delay", "30d"],
        weather["temperature", "3h"],
        weather["temperature", "3h"].clip(65, 100).named("heat"),
        weather["humidity", "3h"],
        weather["wind", "3h"].clip(0, 60),  # the file has a gust of 1,048 mph
        (weather["rain", "3h"] * 100).log1p().named("rain"),
        weather["visibility", "3h"],
        # The first flights of a day are on time, and delays grow until the evening.
        hour,
        hour.clip(5, 8).named("early"),
        hour.clip(18, 23).named("evening"),
        weekday,
        (weekday == 5).named("saturday"),
        Scheduled.distance,
    ],
    learner=lambda: StandardScaler() | LogisticRegression(optimizer=AdaGrad(0.03), intercept_lr=0.001),
    publish_every=500,
    score_from="2013-02-01",
)
