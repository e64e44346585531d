"""A loop file to edit, and a way to load the result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.compiler import LoadedLoop, load

FLIGHTS = """\
from datetime import datetime

from river.linear_model import LinearRegression, LogisticRegression, SoftmaxRegression
from river.preprocessing import StandardScaler

from headrace import Count, Label, Last, Loop, Mean, Model, Stream, View, col


class Scheduled(Stream, key="tail", time="at", id="flight"):
    flight: str
    at: datetime
    tail: str
    carrier: str
    operator: str
    distance: float
    seats: int | None


class Arrived(Stream, key="tail", time="at", id="flight"):
    flight: str
    at: datetime
    tail: str
    carrier: str
    delay_min: float


carrier_delay = View(
    Arrived,
    by="carrier",
    windows=["3h", "24h"],
    aggregates={"mean": Mean("delay_min")},
)

late = Label(Arrived, of=Scheduled, value=col("delay_min") > 15, within="48h")

model = Model(
    "late_arrival",
    on=Scheduled,
    label=late,
    features=[
        carrier_delay,
        Scheduled.distance,
    ],
    learner=lambda: StandardScaler() | LogisticRegression(),
)
"""

Write = Callable[..., Path]
Load = Callable[..., LoadedLoop]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the loop file with the first occurrence of each given text replaced."""
    monkeypatch.chdir(tmp_path)

    def write(*edits: tuple[str, str], text: str = FLIGHTS, name: str = "flights/loop.py") -> Path:
        for old, new in edits:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.fixture
def loaded(write: Write) -> Load:
    """Load the loop file with replacements."""
    return lambda *edits, **file: load(write(*edits, **file))
