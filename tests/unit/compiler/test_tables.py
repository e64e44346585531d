"""A stream and a label of one table: content ids, times as written, outcomes of the same row."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from river.linear_model import LinearRegression

from headrace import Count, Label, Mean, Model, Stream, View, col, compiler
from headrace.errors import DefinitionErrors


class Trip(Stream, key="zone", time="at", id="content", time_format="%d.%m.%Y", missing=["NA"]):
    at: datetime
    done: datetime | None
    zone: str
    km: float
    fare: float


def model(view: View | None = None, *features: Any, **label: Any) -> Model:
    target = Label(Trip, of=Trip, value=col("fare"), **({"within": "1d", "known_at": "done", "name": "fare"} | label))
    return Model(
        "m", on=Trip, label=target, features=[view or col("km"), *features], learner=lambda: LinearRegression()
    )


def mistakes(declared: Model) -> str:
    with pytest.raises(DefinitionErrors) as raised:
        compiler.compile({"m": declared})
    return str(raised.value)


def test_a_table_is_declared() -> None:
    loop = compiler.compile({"m": model()})
    (stream,), (label,) = loop.streams, loop.labels
    assert (stream.id, stream.content_id, stream.time_format, stream.missing) == ("content", True, "%d.%m.%Y", ("NA",))
    assert [field.name for field in stream.given] == ["at", "done", "zone", "km", "fare"]
    assert (label.id, label.known_at) == ("content", "done")
    text = compiler.explain(loop)
    assert "a hash of the other fields" in text
    assert "at the time in its event's done" in text


def test_a_field_called_content_is_that_field() -> None:
    class Page(Stream, key="content", time="at", id="content"):
        at: datetime
        content: str

    class Wider(Trip, key="km", time="at", id="zone"):
        more: str

    assert not compiler.compile({"Page": Page}).streams[0].content_id
    assert "content" not in [field.name for field in compiler.compile({"m": model()}).streams[0].given]
    assert "content" not in Wider.__fields__


@pytest.mark.parametrize("feature", ["fare", "content"])
def test_the_outcome_and_the_id_are_no_features(feature: str) -> None:
    assert feature in mistakes(model(None, col(feature)))


def test_the_time_at_which_it_is_known_is_no_feature() -> None:
    assert "leaks label fare, which is made of the same 'done'" in mistakes(model(None, col("done").hour))


@pytest.mark.parametrize(
    "options",
    [
        {"aggregates": {"mean": Mean("fare")}},
        {"aggregates": {"count": Count("fare")}},
        {"aggregates": {"dear": Mean(col("fare") > 20)}},
        {"aggregates": {"mean": Mean("twice")}, "derive": {"twice": col("fare") * 2}},
        {"aggregates": {"count": Count()}, "where": col("fare") > 20},
    ],
)
def test_a_view_of_what_is_known_later_leaks(options: dict[str, Any]) -> None:
    leaking = View(Trip, by="zone", windows=["1h"], name="v", **options)
    assert "view v leaks label fare: it is made of 'fare', known only later" in mistakes(
        model(leaking["count" if "count" in options["aggregates"] else next(iter(options["aggregates"]))])
    )
    # If it is known at once, the next event may read it.
    compiler.compile({"m": model(leaking, known_at=None)})


def test_a_view_of_what_is_known_does_not_leak() -> None:
    view = View(Trip, by="zone", windows=["1h"], name="v", aggregates={"km": Mean("km"), "count": Count()})
    compiler.compile({"m": model(view)})


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ({"known_at": "don"}, "known_at 'don' is no field of stream trip. Did you mean 'done'?"),
        ({"known_at": "km"}, "known_at 'km' is a float. Use a field of type datetime."),
        ({"by": "zone", "after": "1h"}, "it is a forecast with known_at"),
    ],
)
def test_what_is_wrong_is_told(label: dict[str, Any], problem: str) -> None:
    assert problem in mistakes(model(**label))


@pytest.mark.parametrize(
    ("key", "id", "by", "problem"),
    [
        ("content", "content", "content", "by is 'content', the id of stream odd, which no later event has. Name the"),
        ("name", "name", "name", "by is 'name', the id of stream odd, which no later event has. Name the"),
        ("content", "content", "zone", "the key of stream odd is 'content'. Write key='zone' in stream odd."),
        ("zone", "content", "name", "the key of stream odd is 'zone'. Write by='zone'."),
        ("zone", "content", "zone", None),
    ],
)
def test_a_forecast_is_by_what_later_events_have_too(key: str, id: str, by: str, problem: str | None) -> None:
    class Odd(Stream, key=key, time="at", id=id):
        name: str
        at: datetime
        zone: str
        level: float

    label = Label(Odd, of=Odd, by=by, after="1h", within="2h", value=Odd.level, name="soon")
    forecast = Model("forecast", on=Odd, label=label, features=[Odd.level], learner=LinearRegression)
    if problem is None:
        compiler.compile({"m": forecast})
    else:
        assert problem in mistakes(forecast)


@pytest.mark.parametrize(
    "options", [{"time_format": "h"}, {"time_format": "%H:%M"}, {"missing": "NA"}, {"missing": [1]}]
)
def test_options_that_mean_nothing_are_told(options: dict[str, Any]) -> None:
    class Odd(Stream, key="id", time="at", id="id", **options):
        id: str
        at: datetime

    with pytest.raises(DefinitionErrors, match=next(iter(options))):
        compiler.compile({"Odd": Odd})
