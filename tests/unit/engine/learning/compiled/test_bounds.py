"""The kernel as plain Python: compiled code would write beyond an array without an error, and Python raises."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba.core.dispatcher import Dispatcher
from river import compose, preprocessing

from headrace.definition import FieldType, Task
from headrace.engine.learning.compiled import kernel, learner
from headrace.wire.tables import Kind
from tests.unit.engine.learning.compiled.logs import ORDINARY, TEXT, log
from tests.unit.engine.learning.compiled.pairs import MIXED, Entry, by_compiled, by_river, compiled, feature
from tests.unit.engine.learning.compiled.pipelines import OVER_TEXT, logistic

WORDS = tuple(feature(f"word_{number}", FieldType.STRING) for number in range(8))


@pytest.fixture(autouse=True)
def python_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the kernel as Python, in which NumPy checks each index."""
    for name, function in vars(kernel).copy().items():
        if isinstance(function, Dispatcher):
            monkeypatch.setattr(kernel, name, function.py_func)
    monkeypatch.setattr(kernel, "_power", lambda _, x, y: float(x) ** y)
    monkeypatch.setattr(kernel, "_exp", lambda _, x: math.exp(x))
    monkeypatch.setattr(learner, "run", kernel.run)


def check(make: Callable[[], Any], features: Any, entries: list[Entry]) -> None:
    expected = by_river(make(), features, entries, Task.BINARY)
    learner = compiled(make(), features, Task.BINARY)
    # NumPy's numbers warn where compiled code does not.
    with np.errstate(all="ignore"):
        assert by_compiled(learner, features, entries, 50, 50) == expected


def encoders(count: int) -> Any:
    """Return a union of one encoder that counts absent categories and others that do not."""
    union = compose.TransformerUnion(("encoder_0", preprocessing.OneHotEncoder()))
    for number in range(1, count):
        union += (f"encoder_{number}", preprocessing.OneHotEncoder(drop_zeros=True))
    return union


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_question_of_unknown_categories_fits_each_encoder(count: int) -> None:
    learned, new = (tuple(f"{kind}_{number}" for number in range(8)) for kind in ("learned", "new"))
    entries = [Entry(Kind.ANSWER, learned, 1.0), Entry(Kind.QUESTION, new), Entry(Kind.QUESTION, learned)]
    check(lambda: encoders(count) | logistic("sgd", "plain"), WORDS, entries)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(transformer=st.sampled_from(sorted(OVER_TEXT)), entries=log(MIXED, ORDINARY, TEXT))
def test_texts_stay_within_the_arrays(transformer: str, entries: list[Entry]) -> None:
    check(lambda: OVER_TEXT[transformer]() | logistic("adagrad", "plain"), MIXED, entries)
