"""Events of a shop, and their files."""

from __future__ import annotations

from pathlib import Path

from headrace.client import IngestClient
from headrace.embedded import RunningLoop

START = 1_700_000_000_000_000


SECOND = 1_000_000


LOOP = """
from datetime import datetime
from river.linear_model import LogisticRegression
from headrace import Count, Label, Loop, Model, Stream, View

Loop("shop", idle="1s")

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
    "delay", on=Asked, label=late, features=[sales, Asked.price], learner=lambda: LogisticRegression(),
    publish_every=100,
)
"""


def write(folder: Path, name: str, *edits: tuple[str, str]) -> Path:
    text = LOOP
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    file = folder / name
    file.write_text(text)
    return file


def send(loop: RunningLoop, numbers: range) -> None:
    times = {number: START + number * SECOND for number in numbers}
    shops = {number: f"s{number % 3}" for number in numbers}
    events = [{"id": f"{n}", "at": at, "shop": shops[n], "price": float(n % 7)} for n, at in times.items()]
    sold = [{"id": f"{n}", "at": at + 500, "shop": shops[n], "late": n % 7 > 3} for n, at in times.items()]
    with IngestClient(loop.addresses["ingest"]) as client:
        assert client.publish_stream("asked", events).accepted == len(events)
        assert client.publish_stream("sold", sold).accepted == len(sold)
