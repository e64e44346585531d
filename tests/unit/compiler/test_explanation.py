"""The output of `headrace check` for a loop."""

from __future__ import annotations

from collections.abc import Callable

from headrace.compiler import LoadedLoop, explain

EXPLAINED = """\
loop flights
  a partition without backlog for 5s holds nobody back
  versions of models are compacted after 16,777,216 bytes
  dead letters are kept for 90d, the newest 1 GiB of them

stream scheduled
  topic       persistent://public/default/flights-scheduled
  partitions  3, by key tail
  time        at, up to 10m late, up to 1d ahead of the clock
  id          flight, remembered for 1w, at most 1,000,000 a partition:
              up to 191 MiB in the store, and in each process that reads the partition
  event       at most 65536 bytes
  marks       of anyone, up to 1d ahead of the clock
  kept        for 9d10m
  fields
    flight    string
    at        time
    tail      string
    carrier   string
    operator  string
    distance  float
    seats     int     optional

stream arrived
  topic       persistent://public/default/flights-arrived
  partitions  1, by key tail
  time        at, up to 0s late, up to 1d ahead of the clock
  id          flight, remembered for 1w, at most 1,000,000 a partition:
              up to 191 MiB in the store, and in each process that reads the partition
  event       at most 65536 bytes
  marks       of anyone, up to 1d ahead of the clock
  kept        for 10d
  fields
    flight     string
    at         time
    tail       string
    carrier    string
    delay_min  float

view carrier_delay
  over        arrived
  by          carrier
  where       delay_min > 0
  with hours  delay_min / 60
  resolution  r = 1s
  exact       at any time up to 31m behind a row's newest event
  stored      until 3d after a row's last event
  version     {view}
  aggregates
    mean     mean of hours
    flights  count of events
  windows
    3h   h = 15m  read at t: ⌊t/h⌋·h − 2h45m ≤ time < ⌊t/r⌋·r
    24h  h = 2h   read at t: ⌊t/h⌋·h − 22h ≤ time < ⌊t/r⌋·r

label late
  of      scheduled, reported by arrived, whose flight is the event's id
  value   delay_min > 15, a bool
  within  2d of event time
  counts  the first, as soon as it comes

model late_arrival
  predicts   late on scheduled: binary
  waiting    508 bytes a question for 2d: at 1,000/s 172,800,000 questions, 82 GiB
  at most    1 GiB of the store; then no more are read until some are over
  vectors    from every event of scheduled; waiting for views up to 1s
  views      carrier_delay
  published  every 5000 examples, and every 10s
  kept       vectors and predictions for 9d10m, examples forever
  learner    {learner}
  version    {model}
  features (12)
    1    carrier_delay.mean.3h                          float  arrived by carrier
    2    carrier_delay.mean.24h                         float  arrived by carrier
    3    carrier_delay.flights.3h                       float  arrived by carrier
    4    carrier_delay.flights.24h                      float  arrived by carrier
    5    distance                                       float  field
    6    carrier_delay.of(carrier=operator).flights.3h  float  arrived by operator
    7–9  carrier=AA … carrier=UA                        float  one-hot of carrier, 3 categories
    10   late                                           float  at.hour > 20
    11   seats.fill(0)                                  float  computed
    12   size                                           float  field seats
"""


def test_a_loop_is_explained(loaded: Callable[..., LoadedLoop]) -> None:
    loop = loaded(
        ('time="at", id="flight"', 'time="at", id="flight", lateness="10m", partitions=3'),
        (
            "    aggregates={",
            '    where=col("delay_min") > 0,\n    derive={"hours": col("delay_min") / 60},\n    aggregates={',
        ),
        ('Mean("delay_min")', 'Mean("hours"), "flights": Count()'),
        (
            "Scheduled.distance,",
            """Scheduled.distance,
        carrier_delay.of(carrier="operator")["flights", "3h"],
        Scheduled.carrier.one_hot(["AA", "B6", "UA"]),
        (Scheduled.at.hour > 20).named("late"),
        Scheduled.seats.fill(0),
        Scheduled.seats.named("size"),""",
        ),
        ("LogisticRegression(),", 'LogisticRegression(),\n    max_delay="1s",\n    publish_after="10s",'),
    ).definition
    [view], [model] = loop.views, loop.models
    expected = EXPLAINED.format(view=view.hash, model=model.hash, learner=model.learner)
    assert explain(loop).splitlines() == expected.splitlines()
