"""A model is a pure function of its log: however messages are cut, repeated, or resumed from a checkpoint."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from river import datasets, linear_model, preprocessing

from headrace.definition import Task
from headrace.engine.learning import Learning
from headrace.errors import CorruptState, LearnerFailed
from headrace.watermark import IDLE, UNKNOWN
from headrace.wire.envelope import Envelope
from headrace.wire.message import Message
from headrace.wire.position import START, Position
from headrace_learner import checkpoint
from headrace_learner.state_hash import state_hash
from headrace_learner.takeover import Takeover
from tests.unit.learner.logs import Row, alternating, definition, entries_of, log, message

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
        for _ in learning.read(one):
            learning.progress.published = learning.progress.examples
            versions.append(learning.progress.examples)
    return versions


def everything(learning: Learning) -> tuple[Any, ...]:
    """Return state, metrics, waiting predictions and progress, except the position, which depends on the messages."""
    progress = learning.progress
    known = (progress.examples, progress.next_seq, progress.release_watermark, progress.newest, progress.published)
    return (state_hash(learning.estimator), learning.quality.dump(), learning.waiting.dump(), known)


@settings(max_examples=10)
@given(st.lists(st.integers(1, 150), min_size=1, max_size=6))
def test_the_cut_into_messages_does_not_matter(sizes: list[int]) -> None:
    whole, parts = new(), new()
    assert learn(whole, list(log(_MODEL, _ROWS, _LABELS, [800]))) == [100, 200, 300, 400]
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
        for _ in stopped.read(one):
            stopped.progress.published = stopped.progress.examples
            if stopped.progress.examples == 100 * version:
                data = checkpoint.encode(stopped)
    resumed = checkpoint.decode(_MODEL, data)
    assert resumed is not None
    again = [one for one in messages if one.position > resumed.progress.position]
    assert learn(resumed, again) == [100 * number for number in range(version + 1, 5)]
    assert everything(resumed) == everything(whole)
    assert resumed.progress == whole.progress


def test_of_two_entries_with_one_place_the_first_wins() -> None:
    learning, reference = new(), new()
    learn(reference, list(log(_MODEL, _ROWS[:300], _LABELS[:300])))
    entries = entries_of(_MODEL, _ROWS, alternating(_LABELS[:300]))
    other = entries_of(_MODEL, _ROWS, alternating([not label for label in _LABELS[:200]] + _LABELS[200:300]))
    learn(
        learning,
        [
            message(_MODEL, entries.take(range(400)), 0),
            message(_MODEL, other.take(range(101, 300)), 1),  # these are known already
            message(_MODEL, other.take(range(201, 600)), 2),  # the second half is new
        ],
    )
    assert everything(learning)[:2] == everything(reference)[:2]
    assert (learning.progress.examples, learning.progress.next_seq) == (300, 600)
    assert learning.progress.position == Position(1, 2, -1)


def test_a_missing_entry_is_refused() -> None:
    learning = new()
    entries = entries_of(_MODEL, _ROWS, alternating(_LABELS[:20]))
    learn(learning, [message(_MODEL, entries.take(range(10)), 0)])
    with pytest.raises(CorruptState, match="expected place 10 next, it goes on with 11 to 19"):
        learn(learning, [message(_MODEL, entries.take(range(11, 20)), 1)])
    assert learning.progress.examples == 5


def test_what_a_superseded_owner_writes_is_dropped() -> None:
    learning, reference = new(), new()
    learn(reference, list(log(_MODEL, _ROWS[:30], _LABELS[:30], end=False)))
    entries = entries_of(_MODEL, _ROWS, alternating(_LABELS[:30]))
    zombie = entries_of(_MODEL, _ROWS, alternating([not label for label in _LABELS[:30]]))
    learn(
        learning,
        [
            message(_MODEL, entries.take(range(20)), 0, epoch=1),
            Message(Position(1, 1, -1), b"", Envelope(epoch=2, marker=True)),
            message(_MODEL, zombie.take(range(20, 40)), 2, epoch=1, release_watermark=2**62),
            message(_MODEL, entries.take(range(20, 60)), 3, epoch=2),
        ],
    )
    assert state_hash(learning.estimator) == state_hash(reference.estimator)
    assert learning.progress.release_watermark is None
    assert learning.progress.epochs == {"0": 2}


def test_the_end_of_history_makes_the_last_version_complete_once() -> None:
    learning = new()
    assert learn(learning, list(log(_MODEL, _ROWS[:150], _LABELS[:150]))) == [100, 150]
    assert learning.progress.is_idle
    assert learn(learning, [Message(Position(1, 9, -1), b"", Envelope(release_watermark=2**62))]) == []
    assert learning.progress.position == Position(1, 9, -1)


def test_an_idle_log_goes_on_as_before() -> None:
    learning = new()
    ended = 2**62
    entries = entries_of(_MODEL, _ROWS, alternating(_LABELS[:120]))
    assert learn(learning, [message(_MODEL, entries.take(range(60)), 0, release_watermark=ended)]) == [30]
    assert learn(learning, [message(_MODEL, entries.take(range(60, 120)), 1)]) == []
    assert learn(learning, [message(_MODEL, entries.take(range(120, 240)), 2, release_watermark=7)]) == [100]
    assert (learning.progress.release_watermark, learning.progress.is_idle) == (7, False)
    assert learn(learning, [Message(Position(1, 3, -1), b"", Envelope(release_watermark=ended))]) == [120]


def test_examples_of_another_learner_count_and_of_other_features_not() -> None:
    same = definition("bananas", Task.BINARY, _ROWS[0], "another learner")
    wider = definition("bananas", Task.BINARY, {**_ROWS[0], "third": 1.0})
    labelled = structs.replace(_MODEL, sources="another label")
    learning = new()
    parts = []
    for number, (model, start, end) in enumerate(
        [(same, 0, 10), (wider, 10, 14), (labelled, 14, 18), (_MODEL, 18, 24)]
    ):
        entries = entries_of(model, _ROWS, alternating(_LABELS[:12])).take(range(start, end))
        parts.append(message(model, entries, number, definition=model.hash, examples=model.examples_hash))
    learn(learning, parts)
    assert (learning.progress.examples, learning.progress.next_seq) == (8, 24)


def test_nothing_learned_stands_before_the_log() -> None:
    assert new().progress.position == START
    assert not new().progress.is_idle


class _Choking:
    """A learner that fails on an example after it has learned half of it."""

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
    messages = list(log(model, rows, [True] * 10, [10]))
    list(learning.read(messages[0]))
    with pytest.raises(
        LearnerFailed, match=r"model 'choking' fails on entry 15 of its log \('e7'\): OverflowError: math range error"
    ):
        list(learning.read(messages[1]))
    assert learning.estimator.learned == 8
    assert (learning.progress.examples, learning.progress.position) == (7, messages[0].position)


def test_a_log_is_whole_once_it_says_so_in_this_definition() -> None:
    learning, ours = new(), _MODEL.hash
    found = []
    for header in (
        Envelope(release_watermark=IDLE),
        Envelope(release_watermark=UNKNOWN, definition=ours, remaking=True),
        Envelope(release_watermark=5, definition=ours, remaking=True),
        Envelope(release_watermark=6, definition=ours),
    ):
        list(learning.read(Message(START, b"", header)))
        found.append((learning.whole, learning.progress.release_watermark))
    assert found == [(True, IDLE), (False, None), (False, 5), (True, 6)]


@pytest.mark.parametrize(
    ("takeover", "reached"),
    [
        (Takeover("h", 10), [False, False, False, True]),
        (Takeover("h", 10, all_kept=True), [False, True, True, True]),
        (Takeover("h", 10, all_kept=True, remade=True), [False, False, True, True]),
    ],
)
def test_what_is_enough_to_take_over(takeover: Takeover, reached: list[bool]) -> None:
    found = [takeover.is_reached(*case) for case in ((9,), (9, True), (9, True, True), (10,))]
    assert found == reached
    assert not takeover.is_reached(0, True, True)
