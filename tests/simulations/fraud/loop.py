"""Fraud among card payments, learned from all payments and from one honest one in twenty."""

from datetime import datetime

from river.linear_model import LogisticRegression
from river.optim import SGD
from river.preprocessing import StandardScaler

from headrace import Count, Label, Loop, Mean, Model, Stream, View, col

Loop("payments", idle="60s")


class Paid(Stream, key="card", time="at", id="payment"):
    payment: str
    at: datetime
    card: str
    amount: float
    abroad: bool
    online: bool


class Chargeback(Stream, key="payment", time="at", id="chargeback"):
    chargeback: str
    at: datetime
    payment: str
    confirmed: bool


spending = View(Paid, by="card", windows="1d", aggregates={"payments": Count(), "mean": Mean("amount")})
features = (
    col(Paid.amount).signed_log(),
    Paid.abroad,
    Paid.online,
    (col(Paid.at).hour < 6).named("night"),
    spending["payments"].fill(0),
    spending["mean"].signed_log(),
)


def learner() -> object:
    # One payment in five hundred is fraud, so the intercept need not begin at one in two.
    return StandardScaler() | LogisticRegression(SGD(0.005), intercept_init=-6.2, intercept_lr=0.01)


fraud = Label(Chargeback, of=Paid, id="payment", value=Chargeback.confirmed, within="10d", absent=False, correct=True)
thinned = Label(
    Chargeback,
    of=Paid,
    id="payment",
    value=Chargeback.confirmed,
    within="10d",
    absent=False,
    correct=True,
    keep={False: 0.05},
)

Model(
    "all_payments",
    on=Paid,
    label=fraud,
    features=features,
    learner=learner,
    publish_every=20_000,
    score_from="2026-01-21",
)
Model(
    "one_in_twenty",
    on=Paid,
    label=thinned,
    features=features,
    learner=learner,
    publish_every=20_000,
    score_from="2026-01-21",
)
