"""The form of an exported model, refusals, and the answers of a model that has learned nothing."""

from __future__ import annotations

import hashlib
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from river import base, compose, forest, linear_model, naive_bayes, optim, preprocessing, tree

from headrace.definition import Column, FeatureDefinition, FieldType, Task
from headrace.engine.export import check, classes_of, present, score_one, supported, to_onnx
from headrace.errors import UnsupportedLearner
from tests.unit.engine.export.scores import FEATURES, Feature, Vector, assert_parity, run, session, train, vector

NUMBERS = (Feature("a", FieldType.FLOAT), Feature("b", FieldType.FLOAT))
TEXTS = (Feature("carrier", FieldType.STRING),)


def usual() -> Any:
    scaled = compose.SelectType(float) | preprocessing.StandardScaler()
    return (scaled + (compose.SelectType(str) | preprocessing.OneHotEncoder())) | linear_model.LogisticRegression()


# The contract of inputs and outputs


@pytest.mark.parametrize(
    ("features", "inputs"),
    [
        (NUMBERS, [("numbers", "tensor(double)", ["N", 2])]),
        (TEXTS, [("categories", "tensor(string)", ["N", 1])]),
        (FEATURES, [("numbers", "tensor(double)", ["N", 5]), ("categories", "tensor(string)", ["N", 2])]),
    ],
)
def test_inputs_are_one_of_numbers_and_one_of_text(features: tuple[Feature, ...], inputs: list[Any]) -> None:
    exported = to_onnx(usual(), features, Task.BINARY)
    assert [(i.name, i.type, i.shape) for i in session(exported).get_inputs()] == inputs


def test_features_of_a_compiled_loop() -> None:
    feature = FeatureDefinition("a", FieldType.FLOAT, Column("a"))
    assert run(to_onnx(usual(), [feature], Task.BINARY), [{"a": 1.0}], NUMBERS[:1]).tolist() == [0.5]


@pytest.mark.parametrize(
    ("task", "model", "classes", "name", "shape"),
    [
        (Task.BINARY, naive_bayes.GaussianNB, ("False", "True"), "score", ["N"]),
        (Task.MULTICLASS, naive_bayes.GaussianNB, ("early", "late", "on time"), "probabilities", ["N", 3]),
        (Task.REGRESSION, linear_model.LinearRegression, (), "score", ["N"]),
    ],
)
def test_outputs(task: Task, model: Callable[[], Any], classes: tuple[str, ...], name: str, shape: list[Any]) -> None:
    pipeline = train(compose.SelectType(float) | preprocessing.StandardScaler() | model(), task, 60, seed=1)
    exported = to_onnx(pipeline, FEATURES, task)
    assert exported.classes == classes == classes_of(pipeline, task)
    (output,) = session(exported).get_outputs()
    assert (output.name, output.type, output.shape) == (name, "tensor(double)", shape)


def test_the_graph_is_valid_onnx() -> None:
    model = train(forest.ARFClassifier(n_models=3, seed=1), Task.MULTICLASS, 60, seed=1)
    exported = to_onnx(model, FEATURES, Task.MULTICLASS)
    onnx.checker.check_model(onnx.load_from_string(exported.onnx), full_check=True)


def test_linear_model_after_a_scaler_is_a_handful_of_operators() -> None:
    model = compose.SelectType(float) | preprocessing.StandardScaler() | linear_model.LogisticRegression()
    graph = onnx.load_from_string(to_onnx(train(model, Task.BINARY, 20, seed=1), FEATURES, Task.BINARY).onnx).graph
    operators = [node.op_type for node in graph.node]
    assert operators == ["Sub", "IsNaN", "Where", "MatMul", "Add", "Sigmoid", "IsNaN", "Where"]


_HASH = """
import hashlib
from headrace.definition import Task
from headrace.engine.export import to_onnx
from tests.unit.engine.export.scores import FEATURES, train
from tests.unit.engine.export.test_export import usual
print(hashlib.sha256(to_onnx(train(usual(), Task.BINARY, 40, seed=1), FEATURES, Task.BINARY).onnx).hexdigest())
"""


def test_the_same_examples_give_the_same_bytes_in_another_process() -> None:
    here = to_onnx(train(usual(), Task.BINARY, 40, seed=1), FEATURES, Task.BINARY).onnx
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _HASH]
    there = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
    assert there == hashlib.sha256(here).hexdigest()


# Refusals


def shout(x: dict[str, Any]) -> dict[str, Any]:
    return x


class OwnRegression(linear_model.LogisticRegression):  # type: ignore[misc]  # River is untyped
    """A regression that may predict differently."""


def custom_loss() -> Any:
    class Loss(optim.losses.Log):  # type: ignore[misc]  # River is untyped
        def mean_func(self, y_pred: Any) -> Any:
            return y_pred

    return linear_model.LogisticRegression(loss=Loss())


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (lambda: compose.FuncTransformer(shout) | usual(), "FuncTransformer(shout)"),
        (lambda: (preprocessing.StandardScaler() + compose.Prefixer("p")) | usual(), "Prefixer"),
        (lambda: preprocessing.StandardScaler() | linear_model.PAClassifier(), "PAClassifier"),
        (lambda: OwnRegression(), "OwnRegression"),
        (lambda: tree.ExtremelyFastDecisionTreeClassifier(), "ExtremelyFastDecisionTreeClassifier"),
        (
            lambda: preprocessing.OneHotEncoder(drop_first=True) | naive_bayes.GaussianNB(),
            "OneHotEncoder(drop_first=True)",
        ),
        (lambda: preprocessing.MinMaxScaler(window_size=3) | naive_bayes.GaussianNB(), "MinMaxScaler(window_size=3)"),
        (custom_loss, "LogisticRegression(loss=Loss)"),
        (
            lambda: tree.HoeffdingTreeClassifier(splitter=tree.splitter.HistogramSplitter()),
            "HoeffdingTreeClassifier(splitter=HistogramSplitter, leaf_prediction='nba')",
        ),
        (
            lambda: forest.ARFRegressor(leaf_model=linear_model.PARegressor()),
            "ARFRegressor(leaf_model=PARegressor)",
        ),
        (
            lambda: tree.HoeffdingTreeRegressor(leaf_model=linear_model.LinearRegression(loss=optim.losses.Poisson())),
            "HoeffdingTreeRegressor(leaf_model=LinearRegression(loss=Poisson))",
        ),
        (lambda: preprocessing.StandardScaler(), "StandardScaler as the last step of a model"),
        (lambda: compose.Pipeline(preprocessing.StandardScaler()), "StandardScaler as the last step of a model"),
        (
            lambda: linear_model.LinearRegression() | linear_model.LinearRegression(),
            "LinearRegression before the last step of a pipeline",
        ),
        (lambda: None, "NoneType"),
    ],
)
def test_check_names_what_has_no_converter(model: Callable[[], Any], named: str) -> None:
    with pytest.raises(UnsupportedLearner) as caught:
        check(model())
    assert caught.value.estimator == named
    assert caught.value.supported == supported()


@pytest.mark.parametrize(
    ("model", "task", "named"),
    [
        (
            lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
            Task.BINARY,
            "StandardScaler over the text feature 'carrier' (encode it before)",
        ),
        (
            lambda: naive_bayes.GaussianNB(),
            Task.BINARY,
            "GaussianNB over the text feature 'carrier' (encode it before)",
        ),
        (
            lambda: tree.HoeffdingTreeRegressor(),
            Task.REGRESSION,
            "HoeffdingTreeRegressor over the text feature 'carrier' (encode it before)",
        ),
        (
            lambda: preprocessing.OneHotEncoder(categories={"carrier": {"AA"}}) | naive_bayes.GaussianNB(),
            Task.BINARY,
            "OneHotEncoder(categories=…) without the feature 'origin'",
        ),
        (
            lambda: preprocessing.OneHotEncoder() | preprocessing.OneHotEncoder() | naive_bayes.GaussianNB(),
            Task.BINARY,
            "OneHotEncoder over computed numbers",
        ),
        (usual, Task.MULTICLASS, "LogisticRegression of a multiclass label"),
        (usual, Task.REGRESSION, "LogisticRegression of a regression label"),
        (lambda: linear_model.LinearRegression(), Task.BINARY, "LinearRegression of a binary label"),
    ],
)
def test_check_with_features_finds_what_they_do_not_fit(model: Callable[[], Any], task: Task, named: str) -> None:
    learner = model()
    check(learner)
    with pytest.raises(UnsupportedLearner) as caught:
        check(learner, [f for f in FEATURES if f.type is FieldType.STRING], task)
    assert caught.value.estimator == named


def test_supported_lists_what_issue_3_asks_for() -> None:
    assert set(supported()) >= {
        "StandardScaler",
        "MinMaxScaler",
        "OneHotEncoder",
        "LinearRegression",
        "LogisticRegression",
        "SoftmaxRegression",
        "GaussianNB",
        "HoeffdingTreeClassifier",
        "HoeffdingTreeRegressor",
        "ARFClassifier",
        "ARFRegressor",
        "Pipeline",
        "TransformerUnion",
    }


# Answers where River has none


@pytest.mark.parametrize(
    "model",
    [
        lambda: linear_model.LogisticRegression(),
        lambda: naive_bayes.GaussianNB(),
        lambda: linear_model.SoftmaxRegression(),
        lambda: tree.HoeffdingTreeClassifier(),
        lambda: forest.ARFClassifier(n_models=2),
        lambda: preprocessing.MinMaxScaler() | linear_model.LogisticRegression(),
    ],
)
def test_a_binary_model_that_knows_nothing_holds_both_alike(model: Callable[[], Any]) -> None:
    learner = model()
    assert score_one(learner, {"a": 1.0}, Task.BINARY) == 0.5
    assert run(to_onnx(learner, NUMBERS, Task.BINARY), [{"a": 1.0, "b": 2.0}], NUMBERS).tolist() == [0.5]


def test_a_multiclass_model_that_knows_no_class_has_no_column() -> None:
    learner = tree.HoeffdingTreeClassifier()
    exported = to_onnx(learner, NUMBERS, Task.MULTICLASS)
    assert exported.classes == ()
    assert run(exported, [{"a": 1.0, "b": 2.0}] * 3, NUMBERS).shape == (3, 0)
    assert score_one(learner, {"a": 1.0}, Task.MULTICLASS) == ()
    assert score_one(learner, {"a": 1.0}, Task.MULTICLASS, ("x", "y")) == (0.5, 0.5)


def test_a_class_that_the_model_does_not_know_has_probability_0() -> None:
    learner = naive_bayes.GaussianNB()
    learner.learn_one({"a": 1.0}, "x")
    assert score_one(learner, {"a": 1.0}, Task.MULTICLASS, ("x", "y")) == (1.0, 0.0)


@pytest.mark.parametrize(("label", "score"), [(True, 1.0), (False, 0.0)])
def test_a_binary_model_that_knows_one_class(label: bool, score: float) -> None:
    for learner in (naive_bayes.GaussianNB(), tree.HoeffdingTreeClassifier(), forest.ARFClassifier(seed=1)):
        for _ in range(3):
            learner.learn_one({"a": 1.0}, label)
        assert score_one(learner, {"a": 1.0}, Task.BINARY) == score
        assert run(to_onnx(learner, NUMBERS, Task.BINARY), [{"a": 1.0, "b": 2.0}], NUMBERS).tolist() == [score]


def test_a_model_that_diverged_tells_nothing() -> None:
    learner = linear_model.LinearRegression()
    learner.learn_one({"a": 1.0}, float("nan"))
    assert score_one(learner, {"a": 1.0}, Task.REGRESSION) == 0.0
    assert run(to_onnx(learner, NUMBERS, Task.REGRESSION), [{"a": 1.0, "b": 2.0}], NUMBERS).tolist() == [0.0]


def test_missing_values_are_missing_keys() -> None:
    values = {"a": float("nan"), "b": None, "c": "", "d": 0.0, "e": "x"}
    assert present(values) == {"d": 0.0, "e": "x"}


# Corners of River


def scored(model: base.Estimator, task: Task = Task.BINARY, seed: int = 9) -> None:
    rng = random.Random(seed)
    vectors = [vector(rng, missing=0.3, unseen=True) for _ in range(40)]
    assert_parity(model, to_onnx(model, FEATURES, task), task, vectors)


def test_a_class_of_no_weight_in_a_bayes_leaf() -> None:
    model = train(tree.HoeffdingTreeClassifier(leaf_prediction="nb"), Task.MULTICLASS, 40, seed=1)
    model._root.stats["late"] = 0.0
    scored(model, Task.MULTICLASS)


def test_a_leaf_that_saw_nothing_beside_trees_that_did() -> None:
    model = train(forest.ARFClassifier(n_models=3, seed=1), Task.BINARY, 80, seed=1)
    model.data[1] = model._new_base_model()
    scored(model)
    for number in range(3):
        model.data[number] = model._new_base_model()
    scored(model)


def test_a_tree_whose_leaf_was_emptied() -> None:
    model = train(tree.HoeffdingTreeClassifier(), Task.BINARY, 30, seed=1)
    model._root.stats = {}
    scored(model)


def test_deactivated_leaves_vote_by_majority() -> None:
    model = train(
        tree.HoeffdingTreeClassifier(leaf_prediction="nb", grace_period=20, tau=0.3), Task.BINARY, 150, seed=1
    )
    for leaf in list(model._root.iter_leaves())[::2]:
        leaf.deactivate()
    scored(model)


def test_select_keeps_the_named_features() -> None:
    model = compose.Select("a", "weekday") | preprocessing.StandardScaler() | linear_model.LogisticRegression()
    rng = random.Random(1)
    for _ in range(30):
        x = present(vector(rng, missing=0.0))
        model.learn_one(x, float(x["a"]) > 0)
    vectors = [vector(rng, missing=0.0) for _ in range(20)]
    assert_parity(model, to_onnx(model, FEATURES, Task.BINARY), Task.BINARY, vectors)


def test_a_feature_without_variance_scales_to_nothing() -> None:
    weights = optim.initializers.Normal(seed=1)  # the gradient of a constant 0 would leave no weight to see
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression(initializer=weights)
    for _ in range(3):
        model.learn_one({"a": 1.0, "b": 2.0}, True)
    scores = run(to_onnx(model, NUMBERS, Task.BINARY), [{"a": 5.0, "b": 2.0}], NUMBERS)
    assert scores == pytest.approx([score_one(model, {"a": 5.0, "b": 2.0}, Task.BINARY)], abs=1e-12)


def test_keys_of_two_features_that_are_spelt_alike() -> None:
    """ "x" of "carrier_AA" and "AA_x" of "carrier" make one key of River's dict."""
    features = (Feature("carrier", FieldType.STRING), Feature("carrier_AA", FieldType.STRING))
    model = preprocessing.OneHotEncoder() | linear_model.LogisticRegression(optim.SGD(0.5))
    rows: list[Vector] = [{"carrier": c, "carrier_AA": d} for c in ("AA_x", "B", "") for d in ("x", "y", "")]
    for row in rows * 3:
        model.learn_one(present(row), row["carrier"] == "AA_x")
    scores = run(to_onnx(model, features, Task.BINARY), rows, features)
    expected = [score_one(model, present(row), Task.BINARY) for row in rows]
    assert np.abs(scores - expected).max() < 1e-12


def test_a_key_of_an_encoder_hides_its_namesake_where_it_is_there() -> None:
    """Without zeros, "carrier_AA" is 1 for that carrier, and otherwise the feature of that name."""
    features = (Feature("carrier", FieldType.STRING), Feature("carrier_AA", FieldType.FLOAT))
    encoded = compose.SelectType(str) | preprocessing.OneHotEncoder(drop_zeros=True)
    model = (encoded + compose.SelectType(float)) | linear_model.LogisticRegression(optim.SGD(0.5))
    rows: list[Vector] = [{"carrier": c, "carrier_AA": n} for c in ("AA", "B", "") for n in (-2.0, 3.0, math.nan)]
    for row in rows * 3:
        model.learn_one(present(row), row["carrier"] == "AA")
    scores = run(to_onnx(model, features, Task.BINARY), rows, features)
    expected = [score_one(model, present(row), Task.BINARY) for row in rows]
    assert np.abs(scores - expected).max() < 1e-12


def test_numbers_at_the_very_threshold_go_where_river_sends_them() -> None:
    model = tree.HoeffdingTreeRegressor(leaf_prediction="mean", grace_period=10, delta=0.5, tau=0.5)
    scaled = preprocessing.StandardScaler() | model
    for number in range(200):
        scaled.learn_one({"a": number % 10 / 10, "b": number % 7 / 7}, float(number % 10 > 4))
    thresholds = [branch.threshold for branch in model._root.iter_branches()]
    assert thresholds
    rows = [{"a": t, "b": u} for t in thresholds for u in (*thresholds, *(np.nextafter(t, 9.0) for t in thresholds))]
    scores = run(to_onnx(model, NUMBERS, Task.REGRESSION), rows, NUMBERS)
    assert scores.tolist() == [model.predict_one(row) for row in rows]
