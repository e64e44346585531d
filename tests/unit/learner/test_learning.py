"""A model is a pure function of its log: however messages are cut, repeated, or resumed from a checkpoint."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from river import datasets, linear_model, preprocessing

from headrace.definition import Task
from headrace.errors import CorruptState, LearnerFailed
from headrace.learning import Learning
from headrace.log.position import START, Position
from headrace_learner import checkpoint
from headrace_learner.statehash import state_hash

from .logs import Message, Row, definition, log, message

_PAIRS = list(datasets.Bananas().take(400))
_ROWS: list[Row] = [dict(row) for row, _ in _PAIRS]
_LABELS = [label for _, label in _PAIRS]
_MODEL = definition("bananas", Task.BINARY, _ROWS[0], publish_examples=100)


def new() -> Learning:
    return Learning(_MODEL, preprocessing.StandardScaler() | linear_model.LogisticRegression())


def learn(learning: Learning, messages: list[Message]) -> list[int]:
    """Learn, and return the versions that were due."""
    versions = []
    for one in messages:
        for _ in learning.read(*one):
            learning.progress.published = learning.progress.examples
            versions.append(learning.progress.examples)
    return versions


def everything(learning: Learning) -> tuple[Any, ...]:
    """State, metrics and progress but for the position, which depends on the messages."""
    progress = learning.progress
    known = (progress.examples, progress.next_seq, progress.frontier, progress.newest, progress.published)
    return (state_hash(learning.estimator), learning.quality.dump(), known)


@settings(max_examples=10)
@given(st.lists(st.integers(1, 150), min_size=1, max_size=6))
def test_the_cut_into_messages_does_not_matter(sizes: list[int]) -> None:
    whole, parts = new(), new()
    assert learn(whole, list(log(_MODEL, _ROWS, _LABELS, [400]))) == [100, 200, 300, 400]
    assert learn(parts, list(log(_MODEL, _ROWS, _LABELS, sizes))) == [100, 200, 300, 400]
    assert everything(parts) == everything(whole)


def test_it_stops_where_it_is_asked_to_also_inside_a_message() -> None:
    whole, stopping = new(), Learning(_MODEL, new().estimator, stops={30, 177, 200, 999})
    learn(whole, list(log(_MODEL, _ROWS, _LABELS)))
    assert learn(stopping, list(log(_MODEL, _ROWS, _LABELS))) == [30, 100, 177, 200, 300, 400]
    assert everything(stopping) == everything(whole)


@settings(max_examples=10)
@given(st.integers(1, 3), st.integers(0, 400))
def test_a_checkpoint_goes_on_from_any_version_also_inside_a_message(version: int, overlap: int) -> None:
    messages = list(log(_MODEL, _ROWS, _LABELS, [130]))
    whole = new()
    learn(whole, messages)
    stopped = new()
    for one in messages:
        for _ in stopped.read(*one):
            stopped.progress.published = stopped.progress.examples
            if stopped.progress.examples == 100 * version:
                data = checkpoint.encode(stopped)
    resumed = checkpoint.decode(_MODEL, data)
    assert resumed is not None
    again = [one for one in messages if one[2] > resumed.progress.position]
    assert learn(resumed, again) == [100 * number for number in range(version + 1, 5)]
    assert everything(resumed) == everything(whole)
    assert resumed.progress == whole.progress


def test_of_two_examples_with_one_number_the_first_accepted_wins() -> None:
    learning, reference = new(), new()
    learn(reference, list(log(_MODEL, _ROWS[:300], _LABELS[:300])))
    other = [not label for label in _LABELS]
    learn(
        learning,
        [
            message(_MODEL, _ROWS[:200], _LABELS[:200], 0, 0),
            message(_MODEL, _ROWS[50:150], other[50:150], 50, 1),  # known altogether
            message(_MODEL, _ROWS[100:300], other[100:200] + _LABELS[200:300], 100, 2),  # the second half is new
        ],
    )
    assert state_hash(learning.estimator) == state_hash(reference.estimator)
    assert learning.progress.examples == learning.progress.next_seq == 300
    assert learning.progress.position == Position(1, 2, -1)


def test_a_missing_example_is_refused() -> None:
    learning = new()
    learn(learning, [message(_MODEL, _ROWS[:10], _LABELS[:10], 0, 0)])
    with pytest.raises(CorruptState, match="expected number 10 next, the log goes on with 11 to 19"):
        learn(learning, [message(_MODEL, _ROWS[11:20], _LABELS[11:20], 11, 1)])
    assert learning.progress.examples == 10


def test_what_a_superseded_owner_writes_is_dropped() -> None:
    learning, reference = new(), new()
    learn(reference, list(log(_MODEL, _ROWS[:30], _LABELS[:30], end=False)))
    zombie = [not label for label in _LABELS]
    learn(
        learning,
        [
            message(_MODEL, _ROWS[:10], _LABELS[:10], 0, 0, epoch="1", partition="0"),
            (b"", {"epoch": "2", "partition": "0", "marker": "epoch"}, Position(1, 1, -1)),
            message(_MODEL, _ROWS[10:20], zombie[10:20], 10, 2, epoch="1", partition="0", frontier=str(2**62)),
            message(_MODEL, _ROWS[10:30], _LABELS[10:30], 10, 3, epoch="2", partition="0"),
        ],
    )
    assert state_hash(learning.estimator) == state_hash(reference.estimator)
    assert learning.progress.frontier is None
    assert learning.progress.epochs == {"0": 2}


def test_the_end_of_history_makes_the_last_version_complete_once() -> None:
    learning = new()
    assert learn(learning, list(log(_MODEL, _ROWS[:150], _LABELS[:150]))) == [100, 150]
    assert learning.progress.rests
    assert learn(learning, [(b"", {"frontier": str(2**62)}, Position(1, 9, -1))]) == []
    assert learning.progress.position == Position(1, 9, -1)


def test_an_idle_log_goes_on_as_before() -> None:
    learning = new()
    rest = str(2**62)
    assert learn(learning, [message(_MODEL, _ROWS[:30], _LABELS[:30], 0, 0, frontier=rest)]) == [30]
    assert learn(learning, [message(_MODEL, _ROWS[30:60], _LABELS[30:60], 30, 1)]) == []
    assert learn(learning, [message(_MODEL, _ROWS[60:120], _LABELS[60:120], 60, 2, frontier="7")]) == [100]
    assert (learning.progress.frontier, learning.progress.rests) == (7, False)
    assert learn(learning, [(b"", {"frontier": rest}, Position(1, 3, -1))]) == [120]


def test_examples_of_another_learner_count_and_of_other_features_not() -> None:
    same = definition("bananas", Task.BINARY, _ROWS[0], "another learner")
    wider = definition("bananas", Task.BINARY, {**_ROWS[0], "third": 1.0})
    labelled = structs.replace(_MODEL, sources="another label")
    learning = new()
    learn(
        learning,
        [
            message(same, _ROWS[:5], _LABELS[:5], 0, 0, definition=same.hash, examples=same.examples_hash),
            message(wider, _ROWS[5:7], _LABELS[5:7], 5, 1, definition=wider.hash, examples=wider.examples_hash),
            message(
                labelled, _ROWS[7:9], _LABELS[7:9], 7, 3, definition=labelled.hash, examples=labelled.examples_hash
            ),
            message(_MODEL, _ROWS[9:12], _LABELS[9:12], 9, 2, definition=_MODEL.hash),
        ],
    )
    assert (learning.progress.examples, learning.progress.next_seq) == (8, 12)


def test_nothing_learned_stands_before_the_log() -> None:
    assert new().progress.position == START
    assert not new().progress.rests


class _Choking:
    """Fails on an example after it has learned half of it."""

    def __init__(self) -> None:
        self.learned = 0

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        return {}

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        self.learned += 1
        if x["n"] == 7.0:
            raise OverflowError("math range error")


def test_a_learner_that_fails_names_the_example_and_learns_nothing_behind_it() -> None:
    rows: list[Row] = [{"n": float(index)} for index in range(10)]
    model = definition("choking", Task.BINARY, rows[0])
    learning = Learning(model, _Choking())
    messages = list(log(model, rows, [True] * 10, [5]))
    list(learning.read(*messages[0]))
    with pytest.raises(
        LearnerFailed, match=r"model 'choking' fails on example 7 \('e7'\): OverflowError: math range error"
    ):
        list(learning.read(*messages[1]))
    assert learning.estimator.learned == 8
    assert (learning.progress.examples, learning.progress.position) == (5, messages[0][2])
