"""The trial of the compiled learner on this machine."""

from __future__ import annotations

import ctypes
import math

import pytest
from river import compose, linear_model, optim, preprocessing, tree

from headrace.definition import Task
from headrace.engine.learning.compiled import c_library, equals_river, learner, machine_check
from headrace.engine.learning.ordered_sets import in_order
from tests.unit.engine.learning.compiled.pairs import MIXED, NUMBERS, feature, plain
from tests.unit.engine.learning.compiled.pipelines import OPTIMIZERS, OVER_TEXT, logistic


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_this_machine_passes(optimizer: str) -> None:
    estimator = preprocessing.StandardScaler() | logistic(optimizer, "plain")
    before = plain(estimator)
    assert equals_river(estimator, NUMBERS, Task.BINARY)
    assert plain(estimator) == before


def test_text_passes() -> None:
    assert equals_river(OVER_TEXT["encoded"]() | logistic("sgd", "l2"), MIXED, Task.BINARY)


def test_select_passes_though_it_needs_each_feature() -> None:
    names = [f"x{number}" for number in range(12)]
    # In Python's own order the copy that is tried would take the features in another order than the model.
    estimator = in_order(compose.Select(*names) | logistic("adagrad", "plain"))
    assert equals_river(estimator, tuple(map(feature, names)), Task.BINARY)


def test_estimator_that_diverges_passes() -> None:
    assert equals_river(linear_model.LinearRegression(optim.SGD(0.7)), NUMBERS, Task.REGRESSION)
    assert equals_river(linear_model.LinearRegression(optim.AdaGrad(1e200)), NUMBERS, Task.REGRESSION)


def test_trial_needs_no_learned_state() -> None:
    estimator = preprocessing.StandardScaler() | logistic("rmsprop", "l2")
    estimator[-1].intercept = float("nan")
    assert equals_river(estimator, NUMBERS, Task.BINARY)


def test_unrecognised_estimator_does_not_pass() -> None:
    assert not equals_river(tree.HoeffdingTreeClassifier(), NUMBERS, Task.BINARY)


def test_rare_difference_in_the_last_bit_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    @ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_double)
    def power(x: float, y: float) -> float:
        exact = x**y
        return math.nextafter(exact, 0.0) if hash(x) % 500 == 0 else exact

    library = c_library.addresses()
    other = ctypes.cast(power, ctypes.c_void_p).value
    assert library is not None
    assert other is not None
    monkeypatch.setattr(machine_check, "addresses", lambda: library._replace(power=other))
    assert not equals_river(logistic("sgd", "plain"), NUMBERS, Task.BINARY)


def test_other_c_library_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    library = c_library.addresses()
    assert library is not None
    other = ctypes.cast(ctypes.CDLL(None).fmod, ctypes.c_void_p).value
    monkeypatch.setattr(learner, "addresses", lambda: library._replace(power=other))
    estimator = preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.AdaGrad(0.123))
    assert not equals_river(estimator, NUMBERS, Task.BINARY)
