"""Prequential metrics: equal to their definitions, and to the bit the same however examples were batched."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import metrics

from headrace.definition import Column, FeatureDefinition, FieldType, ModelDefinition, Task
from headrace.quality import NO_PREDICTION, Outcomes, Quality, quality_of, restore
from headrace.quality import history as history_module
from headrace.quality.drift import PATIENCE, DriftAlarm

_COUNT = 2_500
_CLASSES = ["brick", "grass", "path", "sky"]


def definition(task: Task, score_from: int | None = None) -> ModelDefinition:
    features = (FeatureDefinition("x", FieldType.FLOAT, Column("x")),)
    return ModelDefinition("m", "asked", "told", task, features, "learner", score_from=score_from)


def outcomes(task: Task, count: int = _COUNT, seed: int = 5) -> Outcomes:
    random = np.random.default_rng(seed)
    times = np.cumsum(random.integers(0, 1_000, count))
    if task is Task.BINARY:
        scores = random.random(count)
        scores[random.random(count) < 0.05] = 0.5
        scores[:3] = NO_PREDICTION
        return Outcomes(times, (random.random(count) < scores).astype(np.float64), scores)
    if task is Task.MULTICLASS:
        labels = random.choice(_CLASSES, count, p=[0.6, 0.2, 0.15, 0.05]).tolist()
        guesses = [
            label if right else other
            for label, right, other in zip(
                labels, random.random(count) < 0.7, random.choice(_CLASSES, count).tolist(), strict=True
            )
        ]
        scores = random.random(count)
        scores[0] = NO_PREDICTION
        return Outcomes(times, labels, scores, [None, *guesses[1:]])
    labels_ = random.normal(1e6, 3, count)
    return Outcomes(times, labels_, labels_ + random.normal(0, 1, count))


def cut(whole: Outcomes, bounds: Sequence[int]) -> list[Outcomes]:
    edges = [0, *sorted(bounds), len(whole.times)]
    return [
        Outcomes(whole.times[a:b], whole.labels[a:b], whole.scores[a:b], whole.predicted[a:b])
        for a, b in itertools.pairwise(edges)
    ]


def told(task: Task, parts: Sequence[Outcomes], score_from: int | None = None) -> Quality:
    quality = quality_of(definition(task, score_from))
    for part in parts:
        quality.update(part)
    return quality


def fresh(whole: Outcomes, rows: np.ndarray[Any, np.dtype[np.bool_]]) -> Quality:
    return told(Task.BINARY, [Outcomes(whole.times[rows], np.asarray(whole.labels)[rows], whole.scores[rows])])


@pytest.mark.parametrize("task", list(Task))
@settings(max_examples=10)
@given(bounds=st.lists(st.integers(0, _COUNT), max_size=6))
def test_nothing_depends_on_the_batches(task: Task, bounds: list[int]) -> None:
    whole = outcomes(task)
    assert told(task, cut(whole, bounds)).dump() == told(task, [whole]).dump()


@pytest.mark.parametrize("task", list(Task))
def test_a_checkpoint_goes_on_where_it_was(task: Task) -> None:
    first, second = cut(outcomes(task), [1_234])
    resumed = restore(definition(task), told(task, [first]).dump())
    resumed.update(second)
    whole = told(task, [first, second])
    assert resumed.dump() == whole.dump()
    assert (resumed.metrics(), resumed.points) == (whole.metrics(), whole.points)


def test_binary_metrics_are_those_of_river() -> None:
    whole = outcomes(Task.BINARY)
    found = told(Task.BINARY, [whole]).metrics()
    accuracy, loss, f1, no_change = metrics.Accuracy(), metrics.LogLoss(), metrics.F1(), metrics.Accuracy()
    trues, prior = 0, 0.0
    last = not whole.labels[0] > 0.5  # before the first label there is none to repeat: wrong
    for row, (label, score) in enumerate(zip(np.asarray(whole.labels) > 0.5, whole.scores.tolist(), strict=True)):
        before = (trues + 1) / (row + 2)
        silent = score == NO_PREDICTION  # wrong, at the loss of the prior
        accuracy.update(label, not label if silent else score > 0.5)
        f1.update(label, score > 0.5)
        loss.update(label, before if silent else score)
        no_change.update(label, last)
        prior -= math.log(before if label else 1 - before)
        trues, last = trues + int(label), bool(label)
    assert list(found) == [
        "examples",
        "scored",
        "accuracy",
        "roc_auc",
        "log_loss",
        "f1",
        "prior_log_loss",
        "no_change_accuracy",
        "drift_alarms",
    ]
    assert (found["examples"], found["scored"]) == (_COUNT, _COUNT)
    assert found["accuracy"] == accuracy.get()
    assert found["no_change_accuracy"] == no_change.get()
    assert found["f1"] == pytest.approx(f1.get(), rel=1e-12)
    assert found["log_loss"] == pytest.approx(loss.get(), rel=1e-12)
    assert found["prior_log_loss"] == pytest.approx(prior / _COUNT, rel=1e-12)


def test_multiclass_metrics_are_those_of_river() -> None:
    whole = outcomes(Task.MULTICLASS)
    found = told(Task.MULTICLASS, [whole]).metrics()
    accuracy, f1, loss = (
        metrics.Accuracy(),
        metrics.MacroF1(),
        0.0,
    )  # of the first nothing is known: one class, the unknown
    rows = list(zip(whole.labels, whole.predicted, whole.scores.tolist(), strict=True))
    accuracy.update(rows[0][0], rows[0][1])
    for label, guess, score in rows[1:]:
        accuracy.update(label, guess)
        f1.update(label, guess)
        loss -= math.log(score)
    assert rows[0][1] is None
    assert found["accuracy"] == accuracy.get()
    assert found["macro_f1"] == pytest.approx(f1.get(), abs=1 / _COUNT)
    assert found["log_loss"] == pytest.approx(loss / _COUNT, rel=1e-12)


def test_regression_metrics_are_those_of_river() -> None:
    whole = outcomes(Task.REGRESSION)
    found = told(Task.REGRESSION, [whole]).metrics()
    mae, rmse, r2, prior, no_change = metrics.MAE(), metrics.RMSE(), metrics.R2(), metrics.MAE(), metrics.MAE()
    labels = np.asarray(whole.labels).tolist()
    for row, (label, score) in enumerate(zip(labels, whole.scores.tolist(), strict=True)):
        for metric in (mae, rmse, r2):
            metric.update(label, score)
        prior.update(label, math.fsum(labels[:row]) / row if row else 0.0)
        no_change.update(label, labels[row - 1] if row else 0.0)
    for name, metric in {"mae": mae, "rmse": rmse, "r2": r2, "prior_mae": prior, "no_change_mae": no_change}.items():
        assert found[name] == pytest.approx(metric.get(), rel=1e-6), name


@pytest.mark.parametrize("task", list(Task))
def test_examples_before_the_declared_time_are_learned_but_not_scored(task: Task) -> None:
    whole = outcomes(task)
    score_from = int(whole.times[1_000])
    found = told(task, [whole], score_from).metrics()
    later = whole.times >= score_from
    assert (found["examples"], found["scored"]) == (_COUNT, int(later.sum()))
    if task is Task.BINARY:
        correct = ((whole.scores > 0.5) == (np.asarray(whole.labels) > 0.5))[later]
        assert found["accuracy"] == correct.sum() / len(correct)
        assert found["prior_log_loss"] != fresh(whole, later).metrics()["prior_log_loss"]  # it knows what came before


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_diverged_model_is_told_by_finite_numbers(task: Task, value: float) -> None:
    whole = outcomes(task, 10)
    scores = np.full(10, value)
    found: dict[str, Any] = told(task, [Outcomes(whole.times, whole.labels, scores, whole.predicted)]).metrics()
    assert all(math.isfinite(metric) for metric in found.values())
    assert found["scored"] == 10
    assert found["mae" if task is Task.REGRESSION else "log_loss"] > 10 or value == math.inf


@pytest.mark.parametrize("task", list(Task))
def test_nothing_scored_has_defined_metrics(task: Task) -> None:
    found = told(task, [Outcomes(np.empty(0, np.int64), [], np.empty(0))]).metrics()
    assert found.pop("roc_auc", 0.5) == 0.5
    assert set(found.values()) == {0.0}


def test_history_has_a_point_each_step_on_the_newest_window() -> None:
    whole = outcomes(Task.BINARY, 12_500)
    points = told(Task.BINARY, [whole]).points
    assert [point.examples for point in points] == list(range(1_000, 12_001, 1_000))
    assert [point.window for point in points] == [1_000, 2_000, 3_000, 4_000, *[5_000] * 8]
    last = slice(12_000 - 5_000, 12_000)
    correct = ((whole.scores > 0.5) == (np.asarray(whole.labels) > 0.5))[last]
    assert points[-1].metrics["accuracy"] == correct.sum() / 5_000
    assert points[-1].time == whole.times[last][-1]


def test_history_is_bounded_and_spans_the_whole_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "LIMIT", 8)
    points = told(Task.REGRESSION, [outcomes(Task.REGRESSION, 40_000)]).points
    assert len(points) < 8
    assert [point.examples for point in points] == [8_000, 16_000, 24_000, 32_000, 40_000]


def test_drift_rings_once_for_a_model_that_became_worse() -> None:
    random = np.random.default_rng(2)
    times = np.arange(40_000)
    losses = random.exponential(0.5, 40_000)
    calm = DriftAlarm()
    calm.update(losses, times)
    assert (calm.alarms, calm.last_time) == (0, None)
    losses[20_000:] *= 2
    drift = DriftAlarm()
    drift.update(losses, times)
    assert drift.alarms == 1
    assert drift.last_time is not None
    assert 20_000 < drift.last_time < 20_000 + PATIENCE
    # To become better is no alarm.
    losses[20_000:] /= 4
    better = DriftAlarm()
    better.update(losses, times)
    assert better.alarms == 0
