"""Examples that are skipped: a model learns the others as if these were in no log."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import linear_model, preprocessing

from headrace.definition import Task
from headrace.engine.learning import Learning
from headrace.errors import LearnerFailed
from headrace.runtime.pulsar.skips import Skip, encode_skip, skips_in
from headrace.wire.position import START
from headrace_learner.state_hash import state_hash
from tests.unit.learner.logs import Message, Row, definition, log

_ROWS: list[Row] = [{"n": float(index), "m": float(index % 3)} for index in range(40)]
_LABELS = [index % 3 == 0 for index in range(40)]
_MODEL = definition("careful", Task.BINARY, _ROWS[0], publish_examples=10)


class Choking:
    """A learner that fails on some rows, when it is asked or when it learns."""

    def __init__(self, asked: tuple[float, ...] = (), learned: tuple[float, ...] = ()) -> None:
        self.inner = preprocessing.StandardScaler() | linear_model.LogisticRegression()
        self._asked, self._learned = asked, learned

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        if x["n"] in self._asked:
            raise OverflowError("math range error")
        found: dict[bool, float] = self.inner.predict_proba_one(x)
        return found

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        if x["n"] in self._learned:
            raise OverflowError("math range error")
        self.inner.learn_one(x, y)


def learned(learning: Learning, messages: list[Message]) -> list[int]:
    return [learning.progress.examples for one in messages for _ in learning.read(one)]


def failure_of(learning: Learning, messages: list[Message]) -> LearnerFailed | None:
    """Learn; return the failure of the learner, if there is one."""
    try:
        learned(learning, messages)
    except LearnerFailed as error:
        return error
    return None


def until_done(make: Any, messages: list[Message]) -> tuple[Learning, list[str]]:
    """Learn from the start again and again, skipping what fails."""
    skipped: set[int] = set()
    named: list[str] = []
    while True:
        learning = Learning(_MODEL, make(), skipped=skipped)
        failed = failure_of(learning, messages)
        if failed is None:
            return learning, named
        assert failed.question not in skipped
        assert failed.position
        skipped.add(failed.question)
        named.append(failed.id)


def without(*rows: int) -> str:
    """Return the state of a learner that was never shown these rows."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for index, (row, label) in enumerate(zip(_ROWS, _LABELS, strict=True)):
        if index not in rows:
            model.learn_one(row, label)
    return state_hash(model)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_the_others_are_learned_however_the_log_is_cut(sizes: list[int]) -> None:
    learning, named = until_done(
        lambda: Choking(asked=(3.0,), learned=(0.0, 7.0, 8.0, 39.0)), list(log(_MODEL, _ROWS, _LABELS, sizes))
    )
    assert sorted(named) == ["e0", "e3", "e39", "e7", "e8"]
    assert state_hash(learning.estimator.inner) == without(0, 3, 7, 8, 39)
    assert (learning.progress.examples, learning.progress.next_seq) == (35, 80)
    assert len(learning.waiting) == 0
    metrics = learning.quality.metrics()
    assert (metrics["examples"], metrics["unasked"]) == (35, 0)


def test_what_is_left_out_is_no_example_of_a_version() -> None:
    messages = list(log(_MODEL, _ROWS, _LABELS, [7]))
    learning = Learning(_MODEL, Choking().inner, skipped={0, 2})
    assert learned(learning, messages) == [10, 20, 30, 38]


def test_the_failure_names_the_example_its_entry_and_its_question() -> None:
    messages = list(log(_MODEL, _ROWS, _LABELS, [10]))
    learning = Learning(_MODEL, Choking(learned=(7.0,)))
    with pytest.raises(LearnerFailed) as failure:
        learned(learning, messages)
    error = failure.value
    assert (error.model, error.id, error.reason) == ("careful", "e7", "OverflowError: math range error")
    assert error.question < error.seq
    assert "leave the example out: headrace skip careful e7" in str(error)


def test_a_skip_is_for_its_model_and_what_is_none_is_passed_over() -> None:
    skips = [Skip(model="careful", question=4, id="e4"), Skip(model="other", question=5, id="e5")]
    right = encode_skip(skips[0])
    wrong = [b"", b"\xff", b"{}", right[:-1], right.replace(b"e4", b"e5"), right.replace(b'"format":1', b'"format":2')]
    payloads = [*map(encode_skip, skips), *wrong]
    assert skips_in(payloads, [START] * len(payloads), "careful") == [skips[0]]
