"""The learner over an encoded log equals a bare River loop over the same rows, exactly."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from river import datasets, linear_model, metrics, preprocessing, tree

from headrace.definition import Task
from headrace.engine.learning import Learning
from headrace_learner.state_hash import state_hash
from tests.unit.learner.logs import Row, definition, log

_LEARNERS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "softmax": lambda: preprocessing.StandardScaler() | linear_model.SoftmaxRegression(),
    "linear": lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(),
    "tree": tree.HoeffdingTreeClassifier,
    "eager tree": lambda: tree.HoeffdingTreeClassifier(grace_period=50, delta=0.01),
    "regression tree": tree.HoeffdingTreeRegressor,
}


def rows_of(dataset: Any) -> tuple[list[Row], list[Any]]:
    pairs = list(dataset)
    return [{name: float(value) for name, value in row.items()} for row, _ in pairs], [label for _, label in pairs]


@pytest.mark.parametrize(
    ("dataset", "task", "learner"),
    [
        (datasets.Phishing, Task.BINARY, "logistic"),
        (datasets.Phishing, Task.BINARY, "tree"),
        (datasets.Phishing, Task.BINARY, "eager tree"),
        (datasets.Bananas, Task.BINARY, "logistic"),
        (datasets.Bananas, Task.BINARY, "tree"),
        (datasets.ImageSegments, Task.MULTICLASS, "softmax"),
        (datasets.ImageSegments, Task.MULTICLASS, "tree"),
        (datasets.ImageSegments, Task.MULTICLASS, "eager tree"),
        (datasets.TrumpApproval, Task.REGRESSION, "linear"),
        (datasets.TrumpApproval, Task.REGRESSION, "regression tree"),
    ],
)
def test_the_learner_equals_a_bare_loop(dataset: Callable[[], Any], task: Task, learner: str) -> None:
    rows, labels = rows_of(dataset())
    model = definition("m", task, rows[0], learner, publish_examples=1_000)
    learning = Learning(model, _LEARNERS[learner]())
    versions = []
    for message in log(model, rows, labels, sizes=(1, 500, 64)):
        for _ in learning.read(message):
            versions.append(learning.progress.examples)
            learning.progress.published = learning.progress.examples

    bare = _LEARNERS[learner]()
    metric = metrics.MAE() if task is Task.REGRESSION else metrics.Accuracy()
    for row, label in zip(rows, labels, strict=True):
        metric.update(label, bare.predict_one(row))  # None, if no class is known yet, is wrong
        bare.learn_one(row, label)

    found = learning.quality.metrics()
    if task is Task.REGRESSION:
        assert found["mae"] == pytest.approx(metric.get(), rel=1e-12)
    else:
        assert found["accuracy"] == metric.get()
    assert state_hash(learning.estimator) == state_hash(bare)
    assert learning.progress.examples == len(rows)
    assert versions == [*range(1_000, len(rows) + 1, 1_000), *([len(rows)] if len(rows) % 1_000 else [])]


def test_missing_values_and_categories_are_missing_keys() -> None:
    rows: list[Row] = [
        {"a": 1.0, "place": "north", "b": 2.0},
        {"a": 3.0, "b": 1.0},
        {"place": "south", "b": -2.0},
        {"a": -1.0, "place": "", "b": 2.0},
        {},
    ]
    labels = [True, False, True, True, False]
    model = definition("m", Task.BINARY, rows[0])
    learning = Learning(model, _Recorder())
    for message in log(model, rows, labels, sizes=(2,)):
        assert list(learning.read(message)) == ([None] if message.position.entry == 4 else [])
    rows[3].pop("place")
    assert learning.estimator.learned == list(zip(rows, labels, strict=True))
    assert list(learning.estimator.learned[0][0]) == ["a", "place", "b"]
    assert learning.quality.metrics()["accuracy"] == 0.0


def test_the_hash_of_a_state_tells_states_apart_but_not_copies() -> None:
    rows, labels = rows_of(datasets.Phishing())
    for learner in ("logistic", "eager tree"):
        model = _LEARNERS[learner]()
        empty = state_hash(model)
        for row, label in zip(rows[:-1], labels[:-1], strict=True):
            model.learn_one(row, label)
        before = state_hash(model)
        assert before != empty
        assert state_hash(pickle.loads(pickle.dumps(model))) == before
        assert state_hash(model) == before
        model.learn_one(rows[-1], labels[-1])
        assert state_hash(model) != before


class _Recorder:
    """An estimator that knows nothing, and records what it is given."""

    def __init__(self) -> None:
        self.learned: list[tuple[Row, Any]] = []

    def predict_proba_one(self, x: Row) -> dict[bool, float]:
        return {}

    def learn_one(self, x: Row, y: Any) -> None:
        self.learned.append((x, y))
