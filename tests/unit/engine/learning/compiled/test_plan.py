"""Which estimators have a compiled form, and the reasons of the others."""

from __future__ import annotations

from typing import Any

import pytest
import river
from river import compose, linear_model, optim, preprocessing, tree

from headrace.definition import Task
from headrace.engine.learning.compiled import CompiledLearner, RecognisedEstimator, kernel, recognise
from headrace.engine.learning.refusal import Refusal
from headrace.wire.tables import Kind
from tests.unit.engine.learning.compiled.pairs import MIXED, NUMBERS

LOGISTIC = linear_model.LogisticRegression


class Scaler(preprocessing.StandardScaler):  # type: ignore[misc]
    """A subclass may do anything."""


def lowered(x: Any) -> Any:
    return x


SHARED = preprocessing.StandardScaler()

REFUSED: dict[str, Any] = {
    "HoeffdingTreeClassifier": tree.HoeffdingTreeClassifier(),
    "PAClassifier": linear_model.PAClassifier(),
    "SoftmaxRegression": linear_model.SoftmaxRegression(),
    "LinearRegression for the task binary": linear_model.LinearRegression(),
    "Scaler": Scaler() | LOGISTIC(),
    "FuncTransformer(lowered)": compose.FuncTransformer(lowered) | LOGISTIC(),
    "RobustScaler": preprocessing.RobustScaler() | LOGISTIC(),
    "StandardScaler(window_size=9)": preprocessing.StandardScaler(window_size=9) | LOGISTIC(),
    "MinMaxScaler(window_size=9)": preprocessing.MinMaxScaler(window_size=9) | LOGISTIC(),
    "OneHotEncoder(drop_first=True)": preprocessing.OneHotEncoder(drop_first=True) | LOGISTIC(),
    "OneHotEncoder(categories=…)": preprocessing.OneHotEncoder(categories={"city": {"x"}}) | LOGISTIC(),
    "OneHotEncoder over the number 'a'": preprocessing.OneHotEncoder() | LOGISTIC(),
    "StandardScaler after OneHotEncoder": (
        compose.SelectType(str) | preprocessing.OneHotEncoder() | preprocessing.StandardScaler() | LOGISTIC()
    ),
    "StandardScaler over the text 'city'": preprocessing.StandardScaler() | LOGISTIC(),
    "LogisticRegression over the text 'b_x'": compose.Discard("city") | LOGISTIC(),
    "Select('z'), which names no feature there,": compose.Select("z") | LOGISTIC(),
    "LogisticRegression(loss=Hinge)": compose.SelectType(float) | LOGISTIC(loss=optim.losses.Hinge()),
    "LogisticRegression(initializer=Normal)": (
        compose.SelectType(float) | LOGISTIC(initializer=optim.initializers.Normal(seed=1))
    ),
    "LogisticRegression(intercept_lr=InverseScaling)": (
        compose.SelectType(float) | LOGISTIC(intercept_lr=optim.schedulers.InverseScaling(0.1))
    ),
    "SGD(lr=InverseScaling)": compose.SelectType(float) | LOGISTIC(optim.SGD(optim.schedulers.InverseScaling(0.1))),
    "Momentum": compose.SelectType(float) | LOGISTIC(optim.Momentum()),
    "Adam(beta_1=1)": compose.SelectType(float) | LOGISTIC(optim.Adam(beta_1=1)),
    "AdaGrad(eps=0)": compose.SelectType(float) | LOGISTIC(optim.AdaGrad(eps=0)),
    "Log(weight_pos=0)": compose.SelectType(float) | LOGISTIC(loss=optim.losses.Log(weight_pos=0)),
    "LogisticRegression(l1=…) with FTRLProximal": (compose.SelectType(float) | LOGISTIC(optim.FTRLProximal(), l1=0.1)),
    "LogisticRegression(l1=1)": compose.SelectType(float) | LOGISTIC(l1=1),
    "StandardScaler in two places": compose.Pipeline(
        compose.SelectType(float), ("first", SHARED), ("second", SHARED), ("model", LOGISTIC())
    ),
    "SelectType(list[int])": compose.SelectType(list[int]) | LOGISTIC(),
    "A pipeline that is a step of another one": compose.Pipeline(
        ("inner", compose.SelectType(float) | preprocessing.StandardScaler()), ("model", LOGISTIC())
    ),
}


@pytest.mark.parametrize("subject", REFUSED)
def test_reason_names_the_part(subject: str) -> None:
    assert recognise(REFUSED[subject], MIXED, Task.BINARY) == Refusal(f"{subject} has no compiled form")


def test_kinds_of_entries_are_those_of_the_log() -> None:
    assert (kernel.QUESTION, kernel.ANSWER) == (Kind.QUESTION, Kind.ANSWER)


def test_learner_of_the_demo_is_recognised() -> None:
    estimator = preprocessing.StandardScaler() | LOGISTIC(optim.AdaGrad(0.01), intercept_lr=0.0002)
    recognised = recognise(estimator, NUMBERS, Task.BINARY)
    assert isinstance(recognised, RecognisedEstimator)
    again = recognise(preprocessing.StandardScaler() | estimator[-1].clone(), NUMBERS, Task.BINARY)
    assert isinstance(again, RecognisedEstimator)
    assert hash(again.plan) == hash(recognised.plan)


def test_other_version_of_river_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(river, "__version__", "0.27.0")
    reason = "River 0.27.0 is installed, the compiled form is that of River 0.26.1"
    assert recognise(LOGISTIC(), NUMBERS, Task.BINARY) == Refusal(reason)


def test_replaced_method_is_refused() -> None:
    estimator = LOGISTIC()
    estimator.learn_one = lowered
    refusal = Refusal("LogisticRegression with another learn_one has no compiled form")
    assert recognise(estimator, NUMBERS, Task.BINARY) == refusal


def test_state_of_other_types_is_refused() -> None:
    scaler = preprocessing.StandardScaler._from_state(counts={"a": 3}, means={"a": 1}, vars={"a": 2.0})
    refusal = CompiledLearner.of(scaler | LOGISTIC(), NUMBERS, Task.BINARY, 3)
    assert refusal == Refusal("The learned state holds 'a': 1")


def test_negative_sum_of_squares_is_refused() -> None:
    optimizer = optim.AdaGrad()
    optimizer.g2["a"] = -1.0
    refusal = CompiledLearner.of(LOGISTIC(optimizer), NUMBERS, Task.BINARY, 3)
    assert refusal == Refusal("AdaGrad.g2 holds a negative number")
