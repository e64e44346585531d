"""Labelled rows of public data sets, and a loop file that learns from them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from river import datasets

_SHARED = Path(__file__).parents[3] / "shared" / "data" / "electricity.csv.gz"


@dataclass(frozen=True)
class LabelledRows:
    """Rows in order: features that are all numbers, and a label (a boolean, or a class)."""

    name: str
    rows: list[tuple[dict[str, float], bool | str]]
    multiclass: bool = False

    @property
    def features(self) -> list[str]:
        return list(self.rows[0][0])


def load(name: str) -> LabelledRows:
    """Load Phishing, Bananas, ImageSegments or Elec2."""
    if name == "Elec2":
        return LabelledRows("Elec2", list(_elec2()))
    data = getattr(datasets, name)()
    multiclass = name == "ImageSegments"
    rows = [({f"f{i}": float(v) for i, v in enumerate(x.values())}, str(y) if multiclass else bool(y)) for x, y in data]
    return LabelledRows(name, rows, multiclass)


def _elec2() -> Iterator[tuple[dict[str, float], bool | str]]:
    # A user's clone has no shared folder: River's own loader has the same rows, if it can fetch them.
    if not _SHARED.exists():
        try:
            for x, y in datasets.Elec2():
                yield {f"f{i}": float(v) for i, v in enumerate(x.values())}, bool(y)
        except OSError as error:
            pytest.skip(f"Elec2 is not in {_SHARED.parent}, and River cannot fetch it: {error}")
        return
    with gzip.open(_SHARED, "rt") as file:
        rows = csv.reader(file)
        next(rows)
        for row in rows:
            yield {f"f{i}": float(v) for i, v in enumerate(row[:-1])}, int(row[-1]) == 1


_LOOP = """
from datetime import datetime
from river.linear_model import LogisticRegression, SoftmaxRegression
from river.preprocessing import StandardScaler
from river.tree import HoeffdingTreeClassifier
from headrace import Label, Loop, Model, Stream, col

loop = Loop("{name}", idle="60s")


class Row(Stream, key="id", time="at", id="id", lateness="0s", partitions={partitions}, time_format="us"):
    id: str
    at: datetime
{fields}


class Answer(Stream, key="id", time="at", id="id", lateness="0s", partitions={partitions}, time_format="us"):
    id: str
    at: datetime
    answer: {kind}


outcome = Label(Answer, of=Row, value=col("answer"), within="1h")
features = [{features}]
linear = Model("linear", on=Row, label=outcome, features=features, learner=lambda: StandardScaler() | {linear}())
tree = Model("tree", on=Row, label=outcome, features=features, learner=lambda: HoeffdingTreeClassifier())
"""


def loop_file(data: LabelledRows, partitions: int = 1) -> str:
    """Return the text of a loop that learns a linear model and a tree from the rows."""
    return _LOOP.format(
        name=data.name.lower(),
        partitions=partitions,
        fields="\n".join(f"    {name}: float" for name in data.features),
        kind="str" if data.multiclass else "bool",
        features=", ".join(f"Row.{name}" for name in data.features),
        linear="SoftmaxRegression" if data.multiclass else "LogisticRegression",
    )
