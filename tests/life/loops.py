"""The loop that lives: four streams, and five models that ask about payments."""

from __future__ import annotations

#: How long (by the clock) a source is silent before it rests.
IDLE_S = 1.0

#: Streams, each with its field of time and of its id.
STREAMS = {"paid": "payment", "outcome": "outcome", "visited": "visit", "rated": "rating"}

#: The field that each stream is keyed by.
KEYS = {"paid": "card", "outcome": "payment", "visited": "card", "rated": "shop"}

_SECOND = 1_000_000

#: How far (µs) events of a stream may come behind newer ones of their partition.
LATENESS = {"paid": 600 * _SECOND, "outcome": 600 * _SECOND, "visited": 60 * _SECOND, "rated": 0}

#: The bounds (µs) of the labels.
BOUNDS = {"fraud": 3_600 * _SECOND, "loss": 7_200 * _SECOND, "refund": 1 * _SECOND}

_LOOP = """
from datetime import datetime

from river.linear_model import LinearRegression, LogisticRegression
from river.preprocessing import StandardScaler
from river.tree import HoeffdingTreeClassifier

from headrace import Count, Label, Last, Loop, Max, Mean, Min, Model, Std, Stream, Sum, View, col

loop = Loop("life", idle="{idle_ms}ms")


class Paid(Stream, key="card", time="at", id="payment", partitions={partitions}, lateness="10m", horizon="7d"):
    payment: str
    at: datetime
    card: str
    shop: str | None
    amount: float | None
    refunded: bool


class Outcome(Stream, key="payment", time="at", id="outcome", partitions={partitions}, lateness="10m", horizon="7d"):
    outcome: str
    at: datetime
    payment: str
    shop: str
    fraud: bool | None
    loss: float | None


class Visited(Stream, key="card", time="at", id="visit", partitions={partitions}, lateness="1m", horizon="7d",
              ahead="10d"):
    visit: str
    at: datetime
    card: str
    seconds: float


class Rated(Stream, key="shop", time="at", id="rating", horizon="7d"):
    rating: str
    at: datetime
    shop: str
    stars: int


of_card = View(
    Paid, by="card", windows=["1h", "6h", "1d"], keep="6h",
    features={{
        "payments": Count(), "known": Count("amount"), "spent": Sum("amount"), "mean": Mean("amount"),
        "least": Min("amount"), "most": Max("amount"), "last": Last("amount"), "spread": Std("amount"),
    }},
)
of_shop = View(
    Outcome, by="shop", windows="6h", keep="6h", where=~col("fraud").is_missing(),
    features={{"frauds": Sum("fraud"), "share": Mean("fraud"), "last": Last("fraud")}},
)
of_visitor = View(
    Visited, by="card", windows=["1h", "6h"], keep="6h", derive={{"long": col("seconds") > 60}},
    features={{"visits": Count(), "seconds": Sum("seconds"), "long": Sum("long")}},
)
of_rating = View(Rated, by="shop", windows="1d", keep="6h", features={{"stars": Mean("stars"), "ratings": Count()}})

fraud = Label(Outcome, of=Paid, value=col("fraud"), id="payment", wait="1h")
charged = Label(Outcome, of=Paid, value=col("fraud"), id="payment", wait="1h", absent=False, keep={{False: 0.5}})
loss = Label(Outcome, of=Paid, value=col("loss"), id="payment", wait="2h", correct=True)
later = Label(Paid, of=Paid, by="card", after="5m", wait="2h", value=col("amount"))
refund = Label(Paid, of=Paid, value=col("refunded"), wait="1s")

linear = Model(
    "linear", on=Paid, label=fraud, publish_every=200,
    features=[of_card, of_shop, of_visitor, of_rating, Paid.amount.signed_log(), Paid.at.hour],
    learner=lambda: StandardScaler() | LogisticRegression(),
)
tree = Model(
    "tree", on=Paid, label=charged, publish_every=500,
    features=[of_card["payments"], of_shop["share"], of_visitor["visits"].fill(0), Paid.amount, Paid.shop.is_missing()],
    learner=lambda: HoeffdingTreeClassifier(grace_period=50),
)
cost = Model(
    "cost", on=Paid, label=loss, publish_every=500,
    features=[of_card["most"], of_card["spent", "1h"] - of_card["spent", "6h"], Paid.amount.fill(0).bins([10, 100])],
    learner=lambda: StandardScaler() | LinearRegression(),
)
soon = Model(
    "soon", on=Paid, label=later, publish_every=500, features=[of_card["last"], of_card["mean", "1h"], Paid.amount],
    learner=lambda: StandardScaler() | LinearRegression(),
)
quick = Model(
    "quick", on=Paid, label=refund, publish_every=500, features=[of_card["last"], of_card["least", "1d"], Paid.amount],
    learner=lambda: StandardScaler() | LogisticRegression(),
)
"""


def source(partitions: int = 1, idle_s: float = IDLE_S) -> str:
    """The loop file."""
    return _LOOP.format(partitions=partitions, idle_ms=round(idle_s * 1_000))
