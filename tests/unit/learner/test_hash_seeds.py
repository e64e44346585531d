"""The same log gives the same model in every process, in whatever order that process reads its sets."""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from river import compose, linear_model, naive_bayes, preprocessing, tree

from headrace.definition import Task
from headrace.engine.learning import Learning, SortedSet, in_order
from headrace.engine.learning.versions import version_of
from headrace_learner import checkpoint
from headrace_learner.state_hash import state_hash
from tests.support.estimators import PREDICTORS, TRANSFORMERS, both
from tests.unit.engine.export.scores import FEATURES, label, vector
from tests.unit.learner.logs import Row, alternating, definition, messages

_ROW: Row = {feature.name: "text" if feature.type == "string" else 1.0 for feature in FEATURES}
_FINAL: dict[Task, Callable[[], Any]] = {
    Task.BINARY: linear_model.LogisticRegression,
    Task.MULTICLASS: naive_bayes.GaussianNB,
    Task.REGRESSION: linear_model.LinearRegression,
}
# Texts with little information: many splits of a tree are equally good.
_EVEN = {"grace_period": 5, "delta": 0.9, "tau": 0.9, "leaf_prediction": "mc", "binary_split": True}


def _cases() -> dict[str, tuple[Task, Callable[[], Any]]]:
    found: dict[str, tuple[Task, Callable[[], Any]]] = {}
    for name, (tasks, make) in PREDICTORS.items():
        for task in tasks:
            found[f"{name}, {task}"] = (task, lambda make=make: both() | copy.deepcopy(make()))  # type: ignore[misc]
    for name, transform in TRANSFORMERS.items():
        for task, final in _FINAL.items():
            make = lambda transform=transform, final=final: transform() | final()  # noqa: E731
            found[f"{name}, {task}"] = (task, make)
    selected = compose.Select("a", "b", "weekday", "clock", "constant")
    for task, final in _FINAL.items():
        found[f"select, {task}"] = (task, lambda final=final: selected.clone() | final())  # type: ignore[misc]
    scaled = lambda: selected.clone() | preprocessing.StandardScaler()  # noqa: E731
    encoded = lambda: compose.Select("carrier", "origin") | preprocessing.OneHotEncoder()  # noqa: E731
    found["select in a union"] = (Task.BINARY, lambda: (scaled() + encoded()) | linear_model.LogisticRegression())
    for name, task in (("over text", Task.BINARY), ("over text, classes", Task.MULTICLASS)):
        found[f"tree {name}"] = (task, lambda: tree.HoeffdingTreeClassifier(**_EVEN))
        found[f"adaptive tree {name}"] = (task, lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1, **_EVEN))
    return found


def _hashes() -> dict[str, str]:
    """Return the predictions, the state and the ONNX of each kind of pipeline, as one text each."""
    found = {}
    for name, (task, make) in _cases().items():
        rng = random.Random(name)
        # Selection by name needs features that are never missing.
        vectors = [vector(rng, missing=0.0 if "select" in name else 0.1) for _ in range(60)]
        rows: list[Row] = [{key: value for key, value in row.items() if value == value} for row in vectors]
        labels = [label(rng, row, task) for row in vectors]
        model = definition("m", task, _ROW)
        scores: list[Any] = []
        learning = Learning(model, make(), asked=lambda _, score, scores=scores: scores.append(score))
        for one in messages(model, rows, alternating(labels), [50]):
            list(learning.read(one))
        again = checkpoint.decode(model, checkpoint.encode(learning))
        assert again is not None
        assert state_hash(again.estimator) == state_hash(learning.estimator)
        found[name] = f"{scores!r} {state_hash(learning.estimator)} {version_of(learning).sha256.hex()}"
    return found


def _hashes_under(seed: int) -> dict[str, str]:
    environment = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tests.unit.learner.test_hash_seeds"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_the_same_log_gives_the_same_model_under_any_hash_seed() -> None:
    one, two = _hashes_under(1), _hashes_under(2)
    assert [name for name in one if one[name] != two[name]] == []
    assert len(one) > 70


def test_a_sorted_set_is_read_in_order_also_after_a_change_and_a_copy() -> None:
    names = SortedSet(["pear", "apple", "fig"])
    names.add("banana")
    names.discard("fig")
    assert list(names) == ["apple", "banana", "pear"]
    assert list(pickle.loads(pickle.dumps(names))) == list(copy.deepcopy(names)) == list(names)
    assert list(SortedSet([2, "b", True])) == sorted({2, "b", True}, key=repr)


def test_a_model_in_order_is_equal_to_the_one_that_it_was() -> None:
    categories = {"carrier": {"B", "A", "C"}, "origin": {"Y", "X"}}
    encoder = preprocessing.OneHotEncoder(categories=categories)
    plain = compose.Select("carrier", "origin") | encoder | naive_bayes.GaussianNB()
    ordered = in_order(copy.deepcopy(plain))
    row = {"carrier": "A", "origin": "X", "other": 1.0}
    columns = ["carrier_A", "carrier_B", "carrier_C", "origin_X", "origin_Y"]
    assert list(ordered["OneHotEncoder"].transform_one(ordered["Select"].transform_one(row))) == columns
    for model in (plain, ordered):
        model.learn_one(row, True)
    assert plain.predict_proba_one(row) == ordered.predict_proba_one(row)


if __name__ == "__main__":
    print(json.dumps(_hashes()))
