"""Will an order come late? The loop of the crash suite.

No stream is keyed by the entity of most views, so a row has fields of several partitions, and a worker reads
rows that others write. The idle time is an hour: silence during an outage never counts as idle.
"""

from __future__ import annotations

from datetime import datetime

from river.linear_model import LogisticRegression
from river.preprocessing import StandardScaler
from river.tree import HoeffdingTreeClassifier

from headrace.declare import Count, Label, Last, Loop, Max, Mean, Min, Model, Std, Stream, Sum, View, col

PARTITIONS = 4

loop = Loop("crash", idle="1h")


class Ordered(Stream, key="shop", time="at", id="order", partitions=PARTITIONS, horizon="6h"):
    """The order that the model is asked about: will it be late?"""

    order: str
    at: datetime
    shop: str
    customer: str
    courier: str
    amount: float | None
    express: bool


class Delivered(Stream, key="courier", time="at", id="delivery", partitions=PARTITIONS, horizon="6h"):
    """The label of most orders: the delivery, minutes later."""

    delivery: str
    at: datetime
    order: str
    courier: str
    minutes: float


class Clicked(Stream, key="page", time="at", id="click", partitions=PARTITIONS, horizon="6h", lateness="30s"):
    """A page that a customer looks at in the meantime."""

    click: str
    at: datetime
    page: str
    customer: str
    seconds: float


WINDOWS = ["5m", "1h", "3h"]

of_customer = View(
    Ordered,
    by="customer",
    windows=WINDOWS,
    aggregates={
        "orders": Count(),
        "spent": Sum("amount"),
        "mean": Mean("amount"),
        "spread": Std("amount"),
        "last": Last("amount"),
        "least": Min("amount"),
        "most": Max("amount"),
    },
)
of_shop = View(Ordered, by="shop", windows=WINDOWS, aggregates={"orders": Count(), "mean": Mean("amount")})
of_courier = View(
    Delivered,
    by="courier",
    windows=WINDOWS,
    aggregates={"mean": Mean("minutes"), "spread": Std("minutes"), "worst": Max("minutes"), "rides": Count()},
)
of_visitor = View(
    Clicked,
    by="customer",
    windows=WINDOWS,
    aggregates={"clicks": Count(), "seconds": Sum("seconds"), "spread": Std("seconds"), "last": Last("seconds")},
)
of_both = View(
    Ordered, by=["customer", "courier"], windows="3h", aggregates={"orders": Count(), "last": Last("amount")}
)

late = Label(Delivered, of=Ordered, value=col(Delivered.minutes) > 9, id="order", within="2h")

linear = Model(
    "linear",
    on=Ordered,
    label=late,
    features=[of_customer, of_shop, of_courier, of_visitor, of_both, col(Ordered.amount).signed_log(), Ordered.express],
    learner=lambda: StandardScaler() | LogisticRegression(),
    publish_every=100,
)
tree = Model(
    "tree",
    on=Ordered,
    label=late,
    features=[of_courier, of_customer["orders"], of_visitor["seconds"], Ordered.amount, Ordered.express],
    learner=lambda: HoeffdingTreeClassifier(grace_period=100),
    publish_every=250,
)
# Its requests have ids that no label refers to.
asked = Model(
    "asked",
    on=Ordered,
    label=late,
    vectors="requests",
    features=[of_customer["orders"], of_courier["mean"], Ordered.amount],
    learner=lambda: StandardScaler() | LogisticRegression(),
)
