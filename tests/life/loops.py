"""The loop that lives: four streams, and five models that ask about payments; its definition sometimes changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

#: How long (by the clock) a source is silent before it is idle.
IDLE_S = 1.0

#: Streams, each with the field of its id.
STREAMS = {"paid": "payment", "outcome": "outcome", "visited": "visit", "rated": "rating"}

#: The key field of each stream.
KEYS = {"paid": "card", "outcome": "payment", "visited": "card", "rated": "shop"}

_SECOND = 1_000_000

#: How far (µs) events of a stream may arrive behind newer ones of their partition.
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
    aggregates={{
        "payments": Count(), "known": Count("amount"), "spent": Sum("amount"), "mean": Mean("amount"),
        "least": Min("amount"), "most": Max("amount"), "last": Last("amount"), "spread": Std("amount"),
    }},
)
of_shop = View(
    Outcome, by="shop", windows="6h", keep="6h", where=~col("fraud").is_missing(),
    aggregates={{"frauds": Sum("fraud"), "share": Mean("fraud"), "last": Last("fraud")}},
)
{visitor} = View(
    Visited,{visitor_was} by="card", windows=["1h", "6h"], keep="6h", derive={{"long": col("seconds") > 60}},
    aggregates={{"visits": Count(), "seconds": Sum("seconds"), "long": Sum("long")}},
)
of_rating = View(
    Rated, by="shop", windows="{rating_days}d", keep="6h", resolution="1m",
    aggregates={{"stars": Mean("stars"), "ratings": Count()}},
)
{night_view}
{fraud} = Label(Outcome, of=Paid, value=col("fraud"), id="payment", within="1h"{fraud_was})
charged = Label(Outcome, of=Paid, value=col("fraud"), id="payment", within="1h", absent=False, keep={{False: 0.5}})
loss = Label(Outcome, of=Paid, value=col("loss"), id="payment", within="{loss_hours}h", correct=True)
later = Label(Paid, of=Paid, by="card", after="5m", within="2h", value=col("amount"))
refund = Label(Paid, of=Paid, value=col("refunded"), within="1s")

linear = Model(
    "linear", on=Paid, label={fraud}, publish_every=200,
    features=[of_card, of_shop, {visitor}, of_rating, Paid.amount.signed_log(), Paid.at.hour],
    learner=lambda: StandardScaler() | LogisticRegression(),
)
{tree_model}cost = Model(
    "cost", on=Paid, label=loss, publish_every=500,
    features=[of_card["most"], {fewer}, Paid.amount.fill(0).bins([10, 100])],
    learner=lambda: StandardScaler() | LinearRegression(),
)
soon = Model(
    "{soon}", {soon_was}on=Paid, label=later, publish_every=500,
    features=[of_card["last"], of_card["mean", "1h"], Paid.amount],
    learner=lambda: StandardScaler() | LinearRegression(),
)
quick = Model(
    "quick", on=Paid, label=refund, publish_every=500,
    features=[of_card["last"], of_card["least", "1d"], Paid.amount{night_feature}],
    learner=lambda: StandardScaler() | LogisticRegression(),
)
{extra_model}"""

_NIGHT_VIEW = """
{name} = View(
    Paid, by="shop", windows="1h", keep="6h", derive={{"night": col("at").hour < 6}},
    aggregates={{"nights": Sum("night")}},
)
"""

_TREE_MODEL = """tree = Model(
    "tree", on=Paid, label=charged, publish_every=500,
    features=[of_card["payments"], of_shop["share"], {visitor}["visits"].fill(0), Paid.amount, Paid.shop.is_missing()],
    learner=lambda: HoeffdingTreeClassifier(grace_period={grace}),
)
"""

_EXTRA_MODEL = """
extra = Model(
    "{name}", on=Paid, label={fraud}, publish_every=300, features=[of_shop["share"], Paid.amount],
    learner=lambda: StandardScaler() | LogisticRegression(),
)
"""


@dataclass(frozen=True)
class Shape:
    """The variable parts of the loop file.

    Attributes
    ----------
    names
        How often names were given: an added view or model is a new one, and a renamed part has a new name.
    night, extra
        The name of a view that one model reads, and of a model; empty if absent.
    left_out
        Whether a model is left out, and may come back.
    rating_days, loss_hours, grace
        Parameters of a view, a label and a learner.
    visitor, fraud, soon, fewer
        The new names of a view, a label, a model and a feature; empty if they are not renamed.
    """

    names: int = 0
    night: str = ""
    extra: str = ""
    left_out: bool = False
    rating_days: int = 1
    loss_hours: int = 2
    grace: int = 50
    visitor: str = ""
    fraud: str = ""
    soon: str = ""
    fewer: str = ""

    def named(self, field: str) -> Shape:
        """Return the shape with a new name for a part."""
        return replace(self, names=self.names + 1, **{field: f"{field}{self.names}"})


LEFT_OUT = "model left out"

#: Changes to a loop file.
CHANGES: dict[str, Callable[[Shape], Shape]] = {
    "view added": lambda shape: shape.named("night"),
    "view removed": lambda shape: replace(shape, night=""),
    "view changed": lambda shape: replace(shape, rating_days=3 - shape.rating_days),
    "view renamed": lambda shape: shape.named("visitor"),
    "label changed": lambda shape: replace(shape, loss_hours=shape.loss_hours + 1),
    "label renamed": lambda shape: shape.named("fraud"),
    "feature renamed": lambda shape: shape.named("fewer"),
    "model added": lambda shape: shape.named("extra"),
    "model removed": lambda shape: replace(shape, extra=""),
    "model renamed": lambda shape: shape.named("soon"),
    "learner changed": lambda shape: replace(shape, grace=shape.grace + 10),
    LEFT_OUT: lambda shape: replace(shape, left_out=True),
    "model comes back": lambda shape: replace(shape, left_out=False),
}


#: Those of them after which the examples of a model are made again.
REMAKING = ("view changed", "label changed")

#: Those of them after which the former file can return.
REVERSIBLE = ("view changed", "label changed", "learner changed", LEFT_OUT)


def source(partitions: int = 1, idle_s: float = IDLE_S, shape: Shape | None = None) -> str:
    """Return the text of the loop file."""
    form = shape or Shape()
    fewer = 'of_card["spent", "1h"] - of_card["spent", "6h"]'
    was = ', was="fewer"' if form.fewer else ""
    visitor = form.visitor or "of_visitor"
    return _LOOP.format(
        partitions=partitions,
        idle_ms=round(idle_s * 1_000),
        rating_days=form.rating_days,
        loss_hours=form.loss_hours,
        tree_model="" if form.left_out else _TREE_MODEL.format(visitor=visitor, grace=form.grace),
        visitor=visitor,
        visitor_was=' was="of_visitor",' if form.visitor else "",
        fraud=form.fraud or "fraud",
        fraud_was=', was="fraud"' if form.fraud else "",
        soon=form.soon or "soon",
        soon_was='was="soon", ' if form.soon else "",
        fewer=f'({fewer}).named("{form.fewer or "fewer"}"{was})',
        night_view=_NIGHT_VIEW.format(name=form.night) if form.night else "",
        night_feature=f', {form.night}["nights"]' if form.night else "",
        extra_model=_EXTRA_MODEL.format(name=form.extra, fraud=form.fraud or "fraud") if form.extra else "",
    )
