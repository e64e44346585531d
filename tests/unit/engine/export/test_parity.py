"""Every supported estimator, once exported, scores as River itself does."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import compose, tree

from headrace.definition import Task
from headrace.engine.export import classes_of, present, registry, to_onnx
from tests.support.estimators import BINARY, EAGER, MULTICLASS, PREDICTORS, REGRESSION, TRANSFORMERS, both
from tests.unit.engine.export.scores import FEATURES, assert_parity, label, steps_of, train, vector

PAIRS = [(name, task) for name, (tasks, _) in PREDICTORS.items() for task in tasks]

# Trees accept text as it is: nominal splits, and frequencies in the leaves. Models in leaves do not.
OVER_TEXT = [
    (name, task)
    for name, task in PAIRS
    if name.startswith(("tree, ", "tree of means", "adaptive tree of majorities", "multiway", "forest, "))
]


def check_parity(model: Any, task: Task, examples: int, seed: int) -> None:
    train(model, task, examples, seed)
    before = pickle.dumps(model)
    exported = to_onnx(model, FEATURES, task)
    assert pickle.dumps(model) == before, "the conversion changed the model"
    assert to_onnx(model, FEATURES, task) == exported
    assert exported.classes == classes_of(model, task)
    rng = random.Random(seed + 1)
    vectors = [vector(rng, missing=missing, unseen=True) for missing in (0.1, 0.5, 1.0) for _ in range(10)]
    assert_parity(model, exported, task, vectors)


def test_every_supported_estimator_is_among_the_cases() -> None:
    models = [make() for make in TRANSFORMERS.values()] + [make() for _, make in PREDICTORS.values()]
    # Selection by name needs features that are never missing, so it has its own test.
    tested = {type(step) for model in models for step in steps_of(model)} | {compose.Select}
    assert tested >= set(registry.types())


@pytest.mark.parametrize("examples", [0, 1, 150])
@pytest.mark.parametrize(("predictor", "task"), PAIRS)
def test_predictors(predictor: str, task: Task, examples: int) -> None:
    check_parity(both() | PREDICTORS[predictor][1](), task, examples, seed=examples)


@pytest.mark.parametrize("examples", [1, 150])
@pytest.mark.parametrize(("predictor", "task"), OVER_TEXT)
def test_trees_over_text(predictor: str, task: Task, examples: int) -> None:
    check_parity(PREDICTORS[predictor][1](), task, examples, seed=3)


@pytest.mark.parametrize(
    ("predictor", "task"),
    [("logistic", BINARY), ("softmax", MULTICLASS), ("gaussian", MULTICLASS), ("tree, adaptive", BINARY)],
)
@pytest.mark.parametrize("transformer", TRANSFORMERS)
def test_transformers(transformer: str, predictor: str, task: Task) -> None:
    for examples in (0, 100):
        check_parity(TRANSFORMERS[transformer]() | PREDICTORS[predictor][1](), task, examples, seed=5)


@given(
    transformer=st.sampled_from(sorted(TRANSFORMERS)),
    pair=st.sampled_from(PAIRS),
    examples=st.integers(0, 100),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_pipeline(transformer: str, pair: tuple[str, Task], examples: int, seed: int) -> None:
    predictor, task = pair
    check_parity(TRANSFORMERS[transformer]() | copy.deepcopy(PREDICTORS[predictor][1]()), task, examples, seed)


@pytest.mark.parametrize(
    ("model", "task"),
    [
        (lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1, **EAGER), BINARY),
        (lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1, leaf_prediction="mc", **EAGER), MULTICLASS),
        (lambda: tree.HoeffdingAdaptiveTreeRegressor(seed=1, leaf_prediction="mean", **EAGER), REGRESSION),
    ],
)
def test_alternates_of_adaptive_trees(model: Callable[[], Any], task: Task) -> None:
    """An adaptive tree grows a leaf beside a branch that drifts, and both predict. Here every other branch has one."""
    grown = train(model(), task, 200, seed=2)
    rng = random.Random(2)
    branches = list(grown._root.iter_branches())
    assert len(branches) > 3
    for branch in branches[::2]:
        branch._alternate_tree = grown._new_leaf(parent=branch)
        for _ in range(5):
            values = vector(rng, missing=0.1)
            branch._alternate_tree.learn_one(present(values), label(rng, values, task), tree=grown)
    vectors = [vector(rng, missing=missing, unseen=True) for missing in (0.0, 0.5) for _ in range(30)]
    assert_parity(grown, to_onnx(grown, FEATURES, task), task, vectors)
