"""A smaller loop, whose events arrive out of order and whose model does not wait for them."""

from __future__ import annotations

from datetime import datetime

from river.linear_model import LogisticRegression
from river.preprocessing import StandardScaler

from headrace.declare import Count, Label, Last, Loop, Max, Mean, Model, Std, Stream, Sum, View, col

PARTITIONS = 4
LATENESS = "20s"

loop = Loop("crashlate", idle="1h")


class Ordered(Stream, key="shop", time="at", id="order", partitions=PARTITIONS, horizon="6h", lateness=LATENESS):
    """The order that the model is asked about: will it be late?"""

    order: str
    at: datetime
    shop: str
    customer: str
    courier: str
    amount: float | None
    express: bool


class Delivered(
    Stream, key="courier", time="at", id="delivery", partitions=PARTITIONS, horizon="6h", lateness=LATENESS
):
    """The label of most orders: the delivery, minutes later."""

    delivery: str
    at: datetime
    order: str
    courier: str
    minutes: float


class Clicked(Stream, key="page", time="at", id="click", partitions=PARTITIONS, horizon="6h", lateness=LATENESS):
    """A page that a customer looks at in the meantime."""

    click: str
    at: datetime
    page: str
    customer: str
    seconds: float


WINDOWS = ["1m", "1h"]

of_customer = View(
    Ordered,
    by="customer",
    windows=WINDOWS,
    aggregates={"orders": Count(), "spent": Sum("amount"), "spread": Std("amount"), "last": Last("amount")},
)
of_courier = View(
    Delivered, by="courier", windows=WINDOWS, aggregates={"mean": Mean("minutes"), "worst": Max("minutes")}
)
of_visitor = View(Clicked, by="customer", windows=WINDOWS, aggregates={"clicks": Count(), "seconds": Sum("seconds")})

late = Label(Delivered, of=Ordered, value=col(Delivered.minutes) > 9, id="order", within="2h")

hasty = Model(
    "hasty",
    on=Ordered,
    label=late,
    features=[of_customer, of_courier, of_visitor, Ordered.amount, Ordered.express],
    learner=lambda: StandardScaler() | LogisticRegression(),
    publish_every=100,
    max_delay="150ms",
)
