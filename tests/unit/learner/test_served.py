"""The quality of what was served: predictions joined with their answers, in any order, in bounded memory."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river.linear_model import LinearRegression, LogisticRegression
from river.naive_bayes import GaussianNB

from headrace.definition import ModelDefinition, Task
from headrace.engine.learning import Learning, ServedQuality
from headrace.engine.learning import served_quality as served
from headrace.engine.quality import Outcomes, quality_of
from headrace.wire.tables import Kind, Predictions
from tests.unit.learner.logs import Entry, Row, alternating, definition, entries_of, message, messages

_COUNT = 60
_ROWS: list[Row] = [{"x": float(row)} for row in range(_COUNT)]
_LABELS: dict[Task, list[Any]] = {
    Task.BINARY: [row % 3 == 0 for row in range(_COUNT)],
    Task.MULTICLASS: [["a", "b", "c"][row % 3] for row in range(_COUNT)],
    Task.REGRESSION: [float(row) for row in range(_COUNT)],
}


def predictions(model: ModelDefinition, numbers: list[int], offset: float = 0.0) -> Predictions:
    """Return what was served for these questions; three of four classes are right."""
    size = len(numbers)
    labels = None
    if model.task is Task.MULTICLASS:
        labels = [_LABELS[model.task][number] if number % 4 else "a" for number in numbers]
    return Predictions(
        [f"e{number}" for number in numbers],
        1_000_000 * np.array(numbers, np.int64),
        [b"\0" * 20] * size,
        np.ones(size, np.int64),
        np.array([(number * 7 % 10) / 10 + offset for number in numbers]),
        labels,
        np.zeros((size, 1)),
        [],
    )


def answer(label: Any, examples: int = 1) -> served.Answer:
    """Return the answer of a question before which `examples` were known; those above are served by version 1."""
    return (label if isinstance(label, str) else float(label), 1.0, examples)


def expected(model: ModelDefinition, numbers: list[int]) -> dict[str, float]:
    given_ = predictions(model, numbers)
    labels = [_LABELS[model.task][number] for number in numbers]
    quality = quality_of(model)
    text = model.task is Task.MULTICLASS
    quality.update(
        Outcomes(
            given_.times, labels if text else np.array(labels, np.float64), given_.scores, given_.labels or (), None
        )
    )
    return quality.metrics()


@pytest.mark.parametrize("task", list(Task))
@given(seed=st.integers(0, 2**32))
def test_whichever_comes_first_the_metrics_are_those_of_the_pairs(task: Task, seed: int) -> None:
    rng = random.Random(seed)
    model = definition("m", task, _ROWS[0])
    scored = sorted(rng.sample(range(_COUNT), 45))
    steps: list[tuple[float, str, int]] = [(number + rng.expovariate(0.05), "score", number) for number in scored]
    steps += [(number + rng.expovariate(0.05), "answer", number) for number in range(_COUNT)]
    found = ServedQuality(model)
    for _, kind, number in sorted(steps):
        if kind == "score":
            found.predict(predictions(model, [number]))
        else:
            found.answer(f"e{number}", 1_000_000 * number, answer(_LABELS[task][number]))
        if rng.random() < 0.1:
            found = ServedQuality.load(model, found.dump())
    metrics = found.metrics()
    assert (metrics["served"], metrics["unserved"]) == (45.0, 15.0)
    names = {"accuracy", "macro_f1"} if task is Task.MULTICLASS else {"log_loss", "roc_auc", "ece", "mae", "rmse"}
    for name in names & set(expected(model, scored)):
        assert metrics[f"served_{name}"] == pytest.approx(expected(model, scored)[name], rel=1e-9), name
    assert not [name for name in metrics if "prior" in name or "no_change" in name]


def test_of_two_predictions_the_first_counts() -> None:
    model = definition("m", Task.REGRESSION, _ROWS[0])
    found = ServedQuality(model)
    found.predict(predictions(model, [0, 1]))
    found.predict(predictions(model, [0, 1], offset=100.0))
    for number in (0, 1):
        found.answer(f"e{number}", 1_000_000 * number, answer(float(number)))
    assert found.metrics()["served_mae"] == pytest.approx(expected(model, [0, 1])["mae"])


def test_a_prediction_without_an_answer_is_forgotten() -> None:
    model = definition("m", Task.BINARY, _ROWS[0])
    found = ServedQuality(model)
    found.predict(predictions(model, [0]))
    learning = Learning(model, LogisticRegression(), served=found)
    for one in messages(model, _ROWS, [Entry(Kind.QUESTION, 0), Entry(Kind.UNANSWERED, 0)]):
        list(learning.read(one))
    assert found.dump() == ServedQuality(model).dump()


def test_what_was_made_later_was_not_served() -> None:
    model = definition("m", Task.BINARY, _ROWS[0])
    learning = Learning(model, LogisticRegression(), served=ServedQuality(model))
    log = [*alternating(_LABELS[Task.BINARY][:20]), Entry(Kind.QUESTION, 20), Entry(Kind.UNANSWERED, 20)]
    entries = entries_of(model, _ROWS, log)
    log_entries = replace(entries, made=np.arange(len(entries)) < 20)
    list(learning.read(message(model, log_entries, 0)))
    assert learning.progress.examples == 20
    assert learning.served is not None
    assert learning.served.metrics()["unserved"] == 10.0


def test_examples_of_a_former_definition_are_not_unserved() -> None:
    model = definition("m", Task.BINARY, _ROWS[0])
    learning = Learning(model, LogisticRegression(), served=ServedQuality(model))
    entries = entries_of(model, _ROWS, alternating(_LABELS[Task.BINARY][:20]))
    former, current = entries.take(range(30)), entries.take(range(30, 40))
    list(learning.read(message(model, former, 0, definition="former", examples=model.examples_hash)))
    list(learning.read(message(model, current, 1, definition=model.hash)))
    assert learning.progress.examples == 20
    assert learning.served is not None
    assert learning.served.metrics()["unserved"] == 5.0


@pytest.mark.parametrize("predicted_first", [False, True])
def test_answers_of_another_definition_are_not_unserved(predicted_first: bool) -> None:
    model = definition("m", Task.BINARY, _ROWS[0])
    found = ServedQuality(model)
    batch = predictions(model, [0, 1])
    if predicted_first:
        found.predict_otherwise(batch.ids, batch.times.tolist())
        found = ServedQuality.load(model, found.dump())
    for number in range(3):
        found.answer(f"e{number}", 1_000_000 * number, answer(True))
    found.predict_otherwise(batch.ids, batch.times.tolist())
    assert (found.metrics()["served"], found.metrics()["unserved"]) == (0.0, 1.0)


def test_both_sides_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "MAX_ANSWERS", 10)
    model = definition("m", Task.BINARY, _ROWS[0], waiting_bytes=20 * 320)
    found = ServedQuality(model)
    found.predict(predictions(model, list(range(30))))
    learning = Learning(model, LogisticRegression(), served=found)
    for one in messages(model, _ROWS, alternating(_LABELS[Task.BINARY])):
        list(learning.read(one))
    state = msgspec.msgpack.decode(found.dump(), type=served.ServedState)
    assert (len(state.predictions), len(state.answers)) == (0, 10)
    assert found.metrics()["served"] == 20.0
    assert found.metrics()["unserved"] == 40.0
    found.predict(predictions(model, list(range(50, 60))))  # the last ten answers are still waiting
    assert (found.metrics()["served"], found.metrics()["unserved"]) == (30.0, 30.0)
    batch = predictions(model, list(range(20)))
    found.predict_otherwise(batch.ids, batch.times.tolist())
    assert len(found._otherwise) == 10


def test_answers_at_once_are_those_taken_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "MAX_ANSWERS", 3)
    model = definition("m", Task.BINARY, _ROWS[0])
    one_by_one, at_once = ServedQuality(model), ServedQuality(model)
    # The first question is answered again, after its first answer was dropped.
    ids, times, labels = ["a", "b", "c", "d", "a"], [1, 2, 3, 4, 1], [1.0, 0.0, 0.0, 0.0, 0.0]
    for id, time, label in zip(ids, times, labels, strict=True):
        one_by_one.answer(id, time, answer(label))
    at_once.answer_all(ids, times, list(map(answer, labels)))
    assert at_once.dump() == one_by_one.dump()


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32))
def test_dropping_later_drops_the_same_answers(seed: int) -> None:
    rng = random.Random(seed)
    model = definition("m", Task.BINARY, _ROWS[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(served, "MAX_ANSWERS", rng.randint(1, 6))
        strict, found = ServedQuality(model), ServedQuality(model)
        for _ in range(8):
            # Questions come again, also within a batch, and after their answers were dropped.
            numbers = rng.choices(range(rng.randint(1, _COUNT)), k=rng.randint(1, 5))
            batch = predictions(model, numbers)
            step = rng.choice(["answer", "answer", "predict", "otherwise"])
            if step == "predict":
                strict.predict(batch)
                found.predict(batch)
            elif step == "otherwise":
                strict.predict_otherwise(batch.ids, batch.times.tolist())
                found.predict_otherwise(batch.ids, batch.times.tolist())
            else:
                labels = [float(number % 2) for number in numbers]
                for id, time, label in zip(batch.ids, batch.times.tolist(), labels, strict=True):
                    strict.answer(id, time, answer(label))
                    strict = ServedQuality.load(model, strict.dump())  # a dump has dropped what is to drop
                found.answer_all(batch.ids, batch.times.tolist(), list(map(answer, labels)))
        assert found.metrics() == strict.metrics()
        assert found.dump() == strict.dump()


def test_answers_to_drop_wait_until_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "MAX_ANSWERS", 10)
    passes = list[int]()
    shorten = served._shorten

    def counted(waiting: dict[Any, Any], limit: int) -> int:
        passes.append(limit)
        return shorten(waiting, limit)

    monkeypatch.setattr(served, "_shorten", counted)
    found = ServedQuality(definition("m", Task.BINARY, _ROWS[0]))
    for number in range(1_000):
        found.answer(f"e{number}", number, answer(True))
    assert passes == []
    assert found.metrics()["unserved"] == 1_000.0


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
@pytest.mark.parametrize("task", list(Task))
def test_what_a_version_answered_with_hindsight_is_not_measured(task: Task, seed: int) -> None:
    rng = random.Random(seed)
    model = definition("m", task, _ROWS[0], publish_examples=rng.randint(3, 20))
    delays = [rng.randint(0, 30) for _ in range(_COUNT)]
    # Each question at its number, each answer behind the question that many later; some questions are not asked.
    unasked = set(rng.sample(range(_COUNT), 5))
    steps = [(number, 0, Entry(Kind.QUESTION, number)) for number in range(_COUNT) if number not in unasked]
    steps += [
        (number + delays[number], 1, Entry(Kind.ANSWER, number, _LABELS[task][number])) for number in range(_COUNT)
    ]
    log = [entry for _, _, entry in sorted(steps, key=lambda step: step[:2])]
    known, answers = dict[int, int](), 0
    for entry in log:
        if entry.kind is Kind.QUESTION or entry.number in unasked:
            known[entry.number] = answers
        answers += entry.kind is Kind.ANSWER
    versions = [rng.randint(1, _COUNT) for _ in range(_COUNT)]
    fair = [number for number in range(_COUNT) if versions[number] <= known[number]]

    estimator = {
        Task.BINARY: LogisticRegression,
        Task.MULTICLASS: GaussianNB,
        Task.REGRESSION: LinearRegression,
    }[task]()
    learning = Learning(model, estimator, served=ServedQuality(model))
    assert learning.served is not None
    everything = replace(predictions(model, list(range(_COUNT))), versions=np.array(versions, np.int64))
    early = rng.sample(range(_COUNT), 30)
    learning.served.predict(everything.take(early))
    for one in messages(model, _ROWS, log, [rng.randint(1, 60)]):
        list(learning.read(one))
    learning.served = ServedQuality.load(model, learning.served.dump())
    learning.served.predict(everything.take([number for number in range(_COUNT) if number not in early]))
    metrics = learning.served.metrics()
    assert (metrics["served"], metrics["hindsight"]) == (len(fair), _COUNT - len(fair))
    name = "accuracy" if task is Task.MULTICLASS else "mae" if task is Task.REGRESSION else "log_loss"
    if fair:
        assert metrics[f"served_{name}"] == pytest.approx(expected(model, fair)[name], rel=1e-9)
    else:
        assert not [name for name in metrics if name.startswith("served_")]
