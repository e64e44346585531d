"""Two definitions of a loop."""

from __future__ import annotations

LOOP = """
from datetime import datetime
from river.linear_model import LinearRegression, LogisticRegression
from headrace import Count, Label, Loop, Mean, Model, Stream, View, col

Loop("shop")

class Asked(Stream, key="shop", time="at", id="id"):
    id: str
    at: datetime
    shop: str
    price: float

class Sold(Stream, key="shop", time="at", id="id"):
    id: str
    at: datetime
    shop: str
    late: bool

sales = View(Sold, by="shop", windows=["1h"], aggregates={"count": Count()})
late = Label(Sold, of=Asked, value=Sold.late, within="1h")
Model(
    "m", on=Asked, label=late, features=[sales, Asked.price],
    learner=lambda: LogisticRegression(),
)
"""


#: A second view of the same stream.
MORE = ("late = Label", 'week = View(Sold, by="shop", windows=["7d"], aggregates={"n": Count()})\nlate = Label')
