"""A loop file of plain annotations, on which `test_type_checkers` runs mypy and pyright in strict mode.

A line that they must refuse carries an ignore; one that is not needed is an error.
"""

from __future__ import annotations

from datetime import datetime

from river.linear_model import LogisticRegression

from headrace import Count, Label, Mean, Model, Stream, View, col


class Asked(Stream, key="user", time="at", id="id", partitions=2):
    id: str
    at: datetime
    user: str
    length: float
    answers: int | None


class Answered(Stream, key="user", time="at", id="id", lateness="1m"):
    id: str
    at: datetime
    user: str
    helpful: bool


# A field has its annotated type, and may be used wherever a column may.
activity = View(
    Answered,
    by=Answered.user,
    windows=["1h", "1d"],
    aggregates={"answers": Count(), "helpful": Mean(Answered.helpful)},
    where=Answered.helpful,
    derive={"unhelpful": ~col(Answered.helpful)},
)
helpful = Label(Answered, of=Asked, value=Answered.helpful, within="7d")
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
        Asked.at.hour,
        Asked.at.weekday,
        Asked.answers,
        # Operations that only expressions have need col(...).
        col(Asked.at).hour.one_hot(),
        col(Asked.length).signed_log(),
        col(Asked.answers).is_missing(),
        col(Asked.answers).fill(0).clip(0, 9).named("answers_until_now"),
        col("user").one_hot(["a", "b"]),
    ],
    learner=LogisticRegression,
)


def mistaken() -> None:
    Asked.lenght  # type: ignore[attr-defined]  # noqa: B018
    col("length").signedlog()  # type: ignore[attr-defined]
    activity[3]  # type: ignore[call-overload]
    View(Asked, by="user", aggregates={})  # type: ignore[call-arg]
    View("asked", by="user", windows="1h", aggregates={})  # type: ignore[arg-type]

    class Spread(Asked, key="user", partitions="2"):  # type: ignore[arg-type]
        pass

    class Misspelt(Asked, kye="user"):  # type: ignore[call-arg]
        pass
