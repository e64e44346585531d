"""A loop file of typed fields, on which `test_type_checkers` runs mypy and pyright in strict mode.

A line that they must refuse carries an ignore; one that is not needed is an error.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import assert_type

from river.linear_model import LogisticRegression

from headrace import Count, Field, Label, Loop, Mean, Model, Stream, View, col
from headrace.declare import Expression, Selection, event_json, stream_name

Loop("questions", idle="5s")


class Asked(Stream, key="user", time="at", id="id", partitions=2, marks="cli", time_format="ms"):
    id: Field[str]
    at: Field[datetime]
    user: Field[str]
    length: Field[float]
    answers: Field[int | None] = Field(default=None)


class Answered(Stream, key="user", time="at", id="id", lateness="1m"):
    id: Field[str]
    at: Field[datetime]
    user: Field[str]
    helpful: Field[bool]


class Corrected(Answered, key="user", time="at", id="id"):
    reason: Field[str | None] = Field(default=None)


# On the stream a field is an expression.
assert_type(Asked.length, Expression)
assert_type(Asked.length.signed_log(), Expression)
assert_type(Asked.at.hour, Expression)
assert_type(Asked.at.weekday.one_hot(), Selection)
assert_type(Asked.length > 100, Expression)
assert_type(Corrected.helpful, Expression)

activity = View(
    Answered,
    by=Answered.user,
    windows=["1h", "1d"],
    aggregates={"answers": Count(), "helpful": Mean(Answered.helpful)},
    where=Answered.helpful,
    derive={"unhelpful": ~Answered.helpful},
)
helpful = Label(Answered, of=Asked, id=Answered.id, value=Answered.helpful, within="7d")
soon = Label(Asked, of=Asked, by=Asked.user, after="1m", within="1h", value=Asked.length)
model = Model(
    "helpful",
    on=Asked,
    label=helpful,
    features=[
        activity,
        activity["answers"].signed_log(),
        activity["answers", "1h"] / activity["answers", "1d"],
        activity.of(user=Asked.user)["helpful"].fill(0),
        Asked.length,
        Asked.length / 100,
        Asked.length.signed_log(),
        Asked.at.hour.one_hot(),
        Asked.answers.is_missing(),
        Asked.answers.fill(0).clip(0, 9).named("answers_until_now"),
        col("user").one_hot(["a", "b"]),
    ],
    learner=LogisticRegression,
    vectors="stream",
    max_delay="1s",
)


def made() -> bytes:
    """Make records: on them a field is its value."""
    asked = Asked(id="q1", at=datetime(2026, 1, 1, tzinfo=UTC), user="u1", length=3.5)
    assert_type(asked.length, float)
    assert_type(asked.answers, int | None)
    assert_type(asked.at.hour, int)
    corrected = Corrected(id="a1", at=asked.at, user="u1", helpful=True, reason="typo")
    assert_type(corrected.helpful, bool)
    assert_type(corrected.reason, str | None)
    assert_type(stream_name(type(asked)), str)
    return event_json(asked)


def mistaken() -> None:
    """Make the mistakes that a type checker finds."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    Asked.lenght  # type: ignore[attr-defined]  # noqa: B018
    Asked.length.signedlog()  # type: ignore[attr-defined]
    Asked(id="q1", at=at, user="u1", lenght=3.5)  # type: ignore[call-arg]
    Asked(id="q1", at=at, user="u1")  # type: ignore[call-arg]
    Asked(id="q1", at=at, user="u1", length="long")  # type: ignore[arg-type]
    Asked("q1", at, "u1", 3.5)  # type: ignore[call-arg]
    View(Asked, by="user", aggregates={})  # type: ignore[call-arg]
    View(Asked, by="user", windows="1h", features={})  # type: ignore[call-arg]
    Model("m", on=Asked, label=helpful, features=[], learner=LogisticRegression, vectors="all")  # type: ignore[arg-type]

    class Spread(Asked, key="user", marks="all"):  # type: ignore[arg-type]
        pass

    class Misspelt(Asked, kye="user"):  # type: ignore[call-arg]
        pass
