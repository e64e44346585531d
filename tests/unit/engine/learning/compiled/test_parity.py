"""A compiled learner gives River's scores and leaves River's state, to the last bit and in River's order."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import compose, linear_model, optim, preprocessing

from headrace.definition import FeatureDefinition, Task
from headrace.engine.learning.compiled import RecognisedEstimator, recognise
from headrace.engine.learning.compiled.state import LearnedState
from headrace.engine.learning.ordered_sets import in_order
from headrace.engine.learning.soundness import not_finite
from headrace.wire.tables import Kind
from tests.unit.engine.learning.compiled.logs import EXTREMES, INFINITE, ORDINARY, TEXT, log
from tests.unit.engine.learning.compiled.pairs import (
    MIXED,
    NUMBERS,
    Entry,
    by_compiled,
    by_river,
    columns,
    compiled,
    feature,
    plain,
)
from tests.unit.engine.learning.compiled.pipelines import (
    OPTIMIZERS,
    OVER_NUMBERS,
    OVER_TEXT,
    PARAMETERS,
    linear,
    logistic,
    pipeline,
)


def check(
    make: Callable[[], Any],
    features: Sequence[FeatureDefinition],
    entries: Sequence[Entry],
    *,
    task: Task = Task.BINARY,
    size: int = 7,
    step: int = 3,
) -> None:
    """Compare the scores, the state in the middle and at the end, and what goes on from that state."""
    # Like `Learning`, which does not depend on the order of Python's sets.
    river, estimator = in_order(make()), in_order(make())
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        # NumPy's scalars in River's FTRL warn where Python's floats do not.
        warnings.simplefilter("ignore", RuntimeWarning)
        half = len(entries) // 2
        expected = by_river(river, features, entries[:half], task)
        learner = compiled(estimator, features, task)
        assert by_compiled(learner, features, entries[:half], size, step) == expected
        if expected and expected[-1].endswith(")"):
            return
        learner.to_river()
        assert plain(estimator) == plain(river)
        assert plain(pickle.loads(pickle.dumps(estimator))) == plain(pickle.loads(pickle.dumps(river)))
        assert not_finite(estimator) == not_finite(river)
        learned = sum(entry.kind is Kind.ANSWER for entry in entries[:half])
        restored = pickle.loads(pickle.dumps(estimator))
        river_again = river if learned else in_order(make())
        expected = by_river(_Learned(river_again) if learned else river_again, features, entries[half:], task)
        again = compiled(restored, features, task, learned)
        assert by_compiled(again, features, entries[half:], size, step) == expected
        if not (expected and expected[-1].endswith(")")):
            again.to_river()
            assert plain(restored) == plain(river_again)


class _Learned:
    """An estimator that is asked itself, not a copy: it has learned before."""

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._estimator, name)

    def __deepcopy__(self, memo: Any) -> Any:
        return self


MANY = settings(max_examples=150, deadline=None, derandomize=True)


@given(
    transformer=st.sampled_from(sorted(OVER_NUMBERS)),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    parameters=st.sampled_from(sorted(PARAMETERS)),
    entries=log(NUMBERS, ORDINARY, ()),
    size=st.integers(1, 20),
    step=st.integers(1, 20),
)
@MANY
def test_logistic_over_numbers(
    transformer: str, optimizer: str, parameters: str, entries: list[Entry], size: int, step: int
) -> None:
    if parameters == "l1" and optimizer.startswith("ftrl"):
        return
    check(
        lambda: pipeline(OVER_NUMBERS[transformer], logistic(optimizer, parameters)),
        NUMBERS,
        entries,
        size=size,
        step=step,
    )


@given(
    transformer=st.sampled_from(sorted(OVER_NUMBERS)),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    entries=log(NUMBERS, EXTREMES, ()),
    step=st.integers(1, 20),
)
@MANY
def test_extreme_values(transformer: str, optimizer: str, entries: list[Entry], step: int) -> None:
    check(lambda: pipeline(OVER_NUMBERS[transformer], logistic(optimizer, "plain")), NUMBERS, entries, step=step)


@given(
    transformer=st.sampled_from(sorted(OVER_NUMBERS)),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    parameters=st.sampled_from(["plain", "l2", "clipped"]),
    entries=log(NUMBERS, INFINITE, ()),
)
@MANY
def test_infinite_values(transformer: str, optimizer: str, parameters: str, entries: list[Entry]) -> None:
    check(lambda: pipeline(OVER_NUMBERS[transformer], logistic(optimizer, parameters)), NUMBERS, entries)


@given(
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    parameters=st.sampled_from(["plain", "l2", "clipped"]),
    entries=log(NUMBERS, ORDINARY, (), weights=[0.0, 1.0, 1e300, math.inf]),
)
@MANY
def test_extreme_weights(optimizer: str, parameters: str, entries: list[Entry]) -> None:
    check(lambda: preprocessing.StandardScaler() | logistic(optimizer, parameters), NUMBERS, entries)


@given(
    transformer=st.sampled_from(sorted(OVER_NUMBERS)),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    entries=log(NUMBERS, ORDINARY, ()),
    extreme=st.booleans(),
    data=st.data(),
)
@MANY
def test_linear_regression(
    transformer: str, optimizer: str, entries: list[Entry], extreme: bool, data: st.DataObject
) -> None:
    labels = st.sampled_from([-2.5, 0.0, 1e6, 3.25, *([1e300] if extreme else [])])
    entries = [Entry(entry.kind, entry.values, data.draw(labels), entry.weight) for entry in entries]
    parameters = data.draw(st.sampled_from(["plain", "l2", "clipped", "other intercept"]))
    check(
        lambda: pipeline(OVER_NUMBERS[transformer], linear(optimizer, parameters)),
        NUMBERS,
        entries,
        task=Task.REGRESSION,
    )


@given(
    transformer=st.sampled_from(sorted(OVER_TEXT)),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    parameters=st.sampled_from(["plain", "l2", "clipped"]),
    entries=log(MIXED, ORDINARY, TEXT),
    size=st.integers(1, 20),
    step=st.integers(1, 20),
)
@MANY
def test_logistic_over_text(
    transformer: str, optimizer: str, parameters: str, entries: list[Entry], size: int, step: int
) -> None:
    check(
        lambda: pipeline(OVER_TEXT[transformer], logistic(optimizer, parameters)), MIXED, entries, size=size, step=step
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_long_log_with_weighted_classes(optimizer: str) -> None:
    random = np.random.default_rng(5)
    scales = np.array([1e-3, 1.0, 50.0, 1e6])
    entries = []
    for _ in range(1_500):
        values = [float(x) if random.random() > 0.1 else None for x in random.normal(size=4) * scales]
        kind = Kind.ANSWER if random.random() < 0.5 else Kind.QUESTION
        entries.append(Entry(kind, values, float(random.random() < 0.3), float(random.choice([1.0, 0.2]))))
    loss = optim.losses.Log(weight_pos=2, weight_neg=0.7)
    check(
        lambda: preprocessing.StandardScaler() | logistic(optimizer, "plain", loss=copy.copy(loss)),
        NUMBERS,
        entries,
        size=100,
        step=64,
    )


@pytest.mark.parametrize("optimizer", ["adagrad", "ftrl"])
def test_many_categories_make_room(optimizer: str) -> None:
    entries = [
        Entry(kind, (1.0, f"c{number % 70}", None, f"{number % 50}", 0.5, None), float(number % 3 == 0))
        for number in range(300)
        for kind in (Kind.QUESTION, Kind.ANSWER)
    ]
    check(lambda: OVER_TEXT["encoded twice"]() | logistic(optimizer, "plain"), MIXED, entries, size=90, step=90)


def test_model_without_features() -> None:
    entries = [Entry(kind, (), float(number % 3 == 0)) for number in range(9) for kind in (Kind.QUESTION, Kind.ANSWER)]
    check(lambda: compose.SelectType(float) | logistic("sgd", "plain"), (), entries)


def test_texts_are_known_in_the_order_of_their_answers() -> None:
    texts = [(None, "x"), (None, "y"), ("south", "y"), ("north", None)]
    entries = [Entry(Kind.ANSWER, (0.5, city, None, b_x, None, None), 1.0) for city, b_x in texts]
    check(lambda: OVER_TEXT["encoded"]() | logistic("sgd", "plain"), MIXED, entries * 2, size=9, step=9)


def test_many_features_make_room() -> None:
    features = tuple(feature(f"x{number}") for number in range(40))
    random = np.random.default_rng(3)
    rows = [[float(x) if random.random() > 0.2 else None for x in random.normal(5.0, 1.0, 40)] for _ in range(30)]
    entries = [Entry(kind, row, float(row[0] is None)) for row in rows for kind in (Kind.QUESTION, Kind.ANSWER)]
    check(lambda: preprocessing.MinMaxScaler() | logistic("sgd", "plain"), features, entries)


@pytest.mark.parametrize("optimizer", ["adagrad", "ftrl"])
def test_squares_are_powers(optimizer: str) -> None:
    """Python's `x ** 2` differs from `x * x` in the last bit of a few numbers: here these are the gradients."""
    numbers = np.random.default_rng(1).uniform(1.0, 2.0, 200_000).tolist()
    gradients = [x for x in numbers if x**2 != x * x]
    assert len(gradients) > 10
    entries = [
        # A new category with weight w has the gradient w / 2.
        Entry(Kind.ANSWER, (None, f"c{number}", None, None, None, None), 1.0, 2.0 * gradient)
        for number, gradient in enumerate(gradients)
    ]
    make = lambda: OVER_TEXT["encoded without zeros"]() | logistic(optimizer, "plain", intercept_lr=0.0)  # noqa: E731
    check(make, MIXED, entries, size=200, step=200)


def test_error_of_river_is_returned_with_its_entry() -> None:
    estimator = linear_model.LogisticRegression(optim.AdaGrad())
    entries = [Entry(Kind.ANSWER, (1.0, None, None, None)), Entry(Kind.ANSWER, (1e200, None, None, None), 1.0)]
    learner = compiled(estimator, NUMBERS, Task.BINARY)
    run = learner.run(learner.prepared(columns(NUMBERS, entries)), 0, 2)
    assert run.done == 1
    assert isinstance(run.error, OverflowError)


def test_error_of_the_compiled_learner_is_not_the_estimators(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any) -> None:
        raise ValueError("the tables cannot be filled")

    scaler = preprocessing.StandardScaler._from_state(counts={"a": 2}, means={"a": 1.0}, vars={"a": -1.0})
    learner = compiled(scaler | compose.Discard("a") | logistic("sgd", "plain"), NUMBERS, Task.BINARY)
    message = learner.prepared(columns(NUMBERS, [Entry(Kind.ANSWER, (1.0, 2.0, None, None))]))
    monkeypatch.setattr(LearnedState, "load", load)
    with pytest.raises(ValueError, match="the tables cannot be filled"):
        learner.run(message, 0, 1)


def test_missing_selected_feature_is_an_error() -> None:
    check(
        lambda: compose.Select("b", "a") | logistic("sgd", "plain"),
        NUMBERS,
        [Entry(Kind.ANSWER, (1.0, 2.0, None, None)), Entry(Kind.QUESTION, (1.0, None, None, None))] * 2,
    )


def test_only_questions_leave_the_estimator_alone() -> None:
    estimator = OVER_NUMBERS["standard"]() | logistic("adam", "plain")
    before = plain(estimator)
    learner = compiled(estimator, NUMBERS, Task.BINARY)
    by_compiled(learner, NUMBERS, [Entry(Kind.QUESTION, (1.0, 2.0, 3.0, 4.0))] * 3, 3, 3)
    learner.to_river()
    assert plain(estimator) == before


def test_entries_that_only_river_can_take() -> None:
    def make() -> Any:
        scaler = preprocessing.StandardScaler._from_state(counts={"a": 2}, means={"a": 1.0}, vars={"a": -1.0})
        return scaler | compose.Discard("a") | logistic("adam", "plain")

    # The root of a negative variance is a complex number, which nothing uses here.
    entries = [
        Entry(kind, (first, 2.0, second, None), second > 0.0)
        for first, second in ((None, 1.0), (3.0, 2.0), (None, -1.0), (0.5, 4.0), (None, 2.5), (None, 0.1))
        for kind in (Kind.ANSWER, Kind.QUESTION)
    ]
    check(make, NUMBERS, entries)


@pytest.mark.parametrize("drop_zeros", [True, False])
@pytest.mark.parametrize("parameters", ["plain", "l1"])
def test_entries_before_one_that_only_river_can_take(drop_zeros: bool, parameters: str) -> None:
    def make() -> Any:
        scaler = preprocessing.StandardScaler._from_state(counts={"a": 2}, means={"a": 1.0}, vars={"a": -1.0})
        numbers = compose.SelectType(float) | scaler | compose.Discard("a")
        texts = compose.SelectType(str) | preprocessing.OneHotEncoder(drop_zeros=drop_zeros)
        return (numbers + texts) | logistic("adagrad", parameters)

    # Every fourth entry has the feature with the negative variance.
    entries = [
        Entry(
            Kind.ANSWER,
            (1.0 if row % 4 == 3 else None, f"c{row // 2}", float(row), "x", 2.0, None),
            float(row % 3 == 0),
        )
        for row in range(40)
    ]
    check(make, MIXED, entries, size=40, step=40)


def test_backup_has_only_what_a_message_may_change() -> None:
    estimator = OVER_TEXT["encoded without zeros"]() | logistic("adagrad", "plain")
    recognised = recognise(estimator, MIXED, Task.BINARY)
    assert isinstance(recognised, RecognisedEstimator)
    state = LearnedState(recognised, [each.name for each in MIXED], 0)
    codes = [state.category_or_new(1, f"c{number}") for number in range(100)]
    backup = state.backup(np.array(codes[40:43]))
    assert backup.numbers.shape[1] == backup.present.shape[1] == len(MIXED) + 3
    assert backup.seen.shape[1] == 3


def test_restoring_a_backup_undoes_a_run() -> None:
    learner = compiled(OVER_TEXT["encoded"]() | logistic("adagrad", "plain"), MIXED, Task.BINARY)
    message = learner.prepared(columns(MIXED, [Entry(Kind.ANSWER, (1.0, "x", 2.0, "y", 3.0, 4.0))]))
    state = learner._state
    backup = state.backup(np.arange(2))
    assert learner.run(message, 0, 1).done == 1
    assert any(state.contents())
    state.restore(backup)
    assert not any(state.contents())
    assert not state.arrays.seen.any()
    assert state.examples == 0


def test_variance_that_is_not_a_number() -> None:
    def make() -> Any:
        scaler = preprocessing.StandardScaler._from_state(counts={"a": 2}, means={"a": 1.0}, vars={"a": math.nan})
        return scaler | linear("sgd", "plain")

    entries = [Entry(Kind.ANSWER, (None, 1.0, None, None), 1.0), Entry(Kind.QUESTION, (2.0, 1.0, None, None))] * 2
    check(make, NUMBERS, entries, task=Task.REGRESSION)
