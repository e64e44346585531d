"""River's estimators, and their answers beside those of the exported graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from river import compose, forest, linear_model, naive_bayes, optim, preprocessing, tree

from headrace.definition import Task

BINARY, MULTICLASS, REGRESSION = Task.BINARY, Task.MULTICLASS, Task.REGRESSION


CLASSIFICATION = (BINARY, MULTICLASS)


def numbers() -> Any:
    return compose.SelectType(float)


def encoded(**parameters: Any) -> Any:
    return compose.SelectType(str) | preprocessing.OneHotEncoder(**parameters)


def both(**parameters: Any) -> Any:
    """Return the usual preparation: scaled numbers beside encoded text."""
    return (numbers() | preprocessing.StandardScaler()) + encoded(**parameters)


def raw() -> Any:
    """Return a preparation with everything as numbers, without a scaler."""
    return compose.Discard("clock", "carrier", "origin") + encoded()


CATEGORIES = {"carrier": {"AA", "DL", "XX"}, "origin": {"JFK"}}


MULTIWAY = tree.splitter.QOSplitter(radius=0.7, allow_multiway_splits=True)


EAGER = {"grace_period": 20, "delta": 0.1, "tau": 0.2}


FEW = {"n_models": 3, "seed": 7, "grace_period": 20}


TRANSFORMERS: dict[str, Callable[[], Any]] = {
    "both": both,
    "raw": raw,
    "scaled": lambda: numbers() | preprocessing.StandardScaler(),
    "centred": lambda: numbers() | preprocessing.StandardScaler(with_std=False) | preprocessing.StandardScaler(),
    "scaled in a window": lambda: numbers() | preprocessing.StandardScaler(window_size=20),
    "min-max": lambda: numbers() | preprocessing.MinMaxScaler(),
    "twice scaled": lambda: both() | preprocessing.MinMaxScaler(),
    "encoded without zeros": lambda: both(drop_zeros=True),
    "encoded, scaled": lambda: encoded(drop_zeros=True) | preprocessing.StandardScaler(),
    "fixed categories": lambda: both(categories=CATEGORIES),
    "fixed categories without zeros": lambda: both(categories=CATEGORIES, drop_zeros=True),
    "encoded numbers": lambda: compose.Discard("clock", "a", "b") | preprocessing.OneHotEncoder(),
    "encoded numbers without zeros": lambda: (
        compose.Discard("clock", "a") | preprocessing.OneHotEncoder(drop_zeros=True)
    ),
    "namesakes": lambda: (
        (compose.Discard("a", "carrier", "origin") | preprocessing.StandardScaler())
        + (numbers() | preprocessing.MinMaxScaler())
    ),
    "one-hot by type": lambda: both() | compose.SelectType(int),
}


PREDICTORS: dict[str, tuple[tuple[Task, ...], Callable[[], Any]]] = {
    "logistic": ((BINARY,), lambda: linear_model.LogisticRegression(optim.Adam(0.01))),
    "softmax": (CLASSIFICATION, lambda: linear_model.SoftmaxRegression()),
    "linear": ((REGRESSION,), lambda: linear_model.LinearRegression(l2=0.01)),
    "poisson": (
        (REGRESSION,),
        lambda: linear_model.LinearRegression(loss=optim.losses.Poisson(), optimizer=optim.SGD(1e-3), clip_gradient=1),
    ),
    "gaussian": (CLASSIFICATION, lambda: naive_bayes.GaussianNB()),
    "tree, majority": (CLASSIFICATION, lambda: tree.HoeffdingTreeClassifier(leaf_prediction="mc", **EAGER)),
    "tree, bayes": (
        CLASSIFICATION,
        lambda: tree.HoeffdingTreeClassifier(
            leaf_prediction="nb", nb_threshold=15, nominal_attributes=["weekday"], **EAGER
        ),
    ),
    "tree, adaptive": (CLASSIFICATION, lambda: tree.HoeffdingTreeClassifier(max_depth=3, **EAGER)),
    "tree, binary": (CLASSIFICATION, lambda: tree.HoeffdingTreeClassifier(binary_split=True, **EAGER)),
    "tree of means": ((REGRESSION,), lambda: tree.HoeffdingTreeRegressor(leaf_prediction="mean", **EAGER)),
    "tree of models": ((REGRESSION,), lambda: tree.HoeffdingTreeRegressor(leaf_prediction="model", **EAGER)),
    "tree of either": ((REGRESSION,), lambda: tree.HoeffdingTreeRegressor(leaf_prediction="adaptive", **EAGER)),
    "multiway tree": (
        (REGRESSION,),
        lambda: tree.HoeffdingTreeRegressor(leaf_prediction="mean", splitter=MULTIWAY.clone(), **EAGER),
    ),
    "adaptive tree": (CLASSIFICATION, lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1, **EAGER)),
    "adaptive tree of majorities": (
        CLASSIFICATION,
        lambda: tree.HoeffdingAdaptiveTreeClassifier(seed=1, leaf_prediction="mc", **EAGER),
    ),
    "adaptive tree of models": (
        (REGRESSION,),
        lambda: tree.HoeffdingAdaptiveTreeRegressor(seed=1, leaf_prediction="model", **EAGER),
    ),
    "forest": (CLASSIFICATION, lambda: forest.ARFClassifier(**FEW)),
    "forest, unweighted": (
        CLASSIFICATION,
        lambda: forest.ARFClassifier(leaf_prediction="nb", disable_weighted_vote=True, **FEW),
    ),
    "forest of regressions": ((REGRESSION,), lambda: forest.ARFRegressor(leaf_prediction="model", **FEW)),
    "even forest of regressions": ((REGRESSION,), lambda: forest.ARFRegressor(**{**FEW, "n_models": 4})),
    "weighted forest of regressions": (
        (REGRESSION,),
        lambda: forest.ARFRegressor(aggregation_method="mean", disable_weighted_vote=False, **FEW),
    ),
}
