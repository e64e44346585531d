"""Metrics as of the question: equal to their definitions, and identical to the bit however examples were batched."""

from __future__ import annotations

import dataclasses
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
from headrace.engine.quality import (
    MARK,
    NO_PREDICTION,
    MulticlassBaseline,
    Outcomes,
    Quality,
    quality_of,
    restore,
    warning_of,
)
from headrace.engine.quality import history as history_module
from headrace.engine.quality.auc import exact_auc
from headrace.engine.quality.drift import PATIENCE, DriftAlarm
from headrace.engine.quality.warning import is_worse

_COUNT = 2_500
_CLASSES = ["brick", "grass", "path", "sky"]


def definition(task: Task, score_from: int | None = None) -> ModelDefinition:
    features = (FeatureDefinition("x", FieldType.FLOAT, Column("x")),)
    return ModelDefinition("m", "asked", "told", task, features, "learner", score_from=score_from)


def outcomes(task: Task, count: int = _COUNT, seed: int = 5, *, delay: int = 0, weighted: bool = False) -> Outcomes:
    """Return random answers; `delay` counts the labels between a question and its answer."""
    answers = scores_of(task, count, seed)
    weights = np.random.default_rng(seed).choice([1.0, 20.0], count) if weighted else np.ones(count)
    return as_of_question(task, answers, weights, delay)


def as_of_question(task: Task, answers: Outcomes, weights: Any, delay: int) -> Outcomes:
    baseline = quality_of(definition(task)).baseline
    labels = answers.labels if isinstance(answers.labels, list) else np.asarray(answers.labels).tolist()
    prior, last = [], []
    for row, label in enumerate(labels):
        if row >= delay:
            known = row - delay
            if known:
                baseline.learn(labels[known - 1], float(weights[known - 1]))
        prior.append(baseline.prior(label) if isinstance(baseline, MulticlassBaseline) else baseline.prior)
        last.append(baseline.last)
    columns = (np.array(prior), last if task is Task.MULTICLASS else np.array(last, np.float64))
    return Outcomes(answers.times, answers.labels, answers.scores, answers.predicted, weights, *columns)


def scores_of(task: Task, count: int, seed: int) -> Outcomes:
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


def cut(answers: Outcomes, bounds: Sequence[int]) -> list[Outcomes]:
    edges = [0, *sorted(bounds), len(answers.times)]
    rows = np.arange(len(answers.times))
    return [answers.take((rows >= a) & (rows < b)) for a, b in itertools.pairwise(edges)]


def told(task: Task, parts: Sequence[Outcomes], score_from: int | None = None) -> Quality:
    quality = quality_of(definition(task, score_from))
    for part in parts:
        quality.update(part)
    return quality


@pytest.mark.parametrize("task", list(Task))
@settings(max_examples=10)
@given(bounds=st.lists(st.integers(0, _COUNT), max_size=6))
def test_nothing_depends_on_the_batches(task: Task, bounds: list[int]) -> None:
    answers = outcomes(task, delay=7, weighted=True)
    assert told(task, cut(answers, bounds)).dump() == told(task, [answers]).dump()


@pytest.mark.parametrize("task", list(Task))
def test_a_checkpoint_goes_on_where_it_was(task: Task) -> None:
    first, second = cut(outcomes(task, weighted=True), [1_234])
    resumed = restore(definition(task), told(task, [first]).dump())
    resumed.update(second)
    answers = told(task, [first, second])
    assert resumed.dump() == answers.dump()
    assert (resumed.metrics(), resumed.points) == (answers.metrics(), answers.points)


def test_binary_metrics_are_those_of_river() -> None:
    answers = outcomes(Task.BINARY)
    found = told(Task.BINARY, [answers]).metrics()
    accuracy, loss, f1, no_change = metrics.Accuracy(), metrics.LogLoss(), metrics.F1(), metrics.Accuracy()
    trues, prior = 0, 0.0
    last = not answers.labels[0] > 0.5  # before the first label there is none to repeat, which counts as wrong
    for row, (label, score) in enumerate(zip(np.asarray(answers.labels) > 0.5, answers.scores.tolist(), strict=True)):
        before = (trues + 1) / (row + 2)
        silent = score == NO_PREDICTION  # counts as wrong, at the loss of the prior
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
        "ece",
        "prior_log_loss",
        "no_change_accuracy",
        "unasked",
        "dropped",
        "drift_alarms",
        "worse_than_prior",
    ]
    assert found["scored"] == _COUNT
    assert found["accuracy"] == accuracy.get()
    assert found["no_change_accuracy"] == no_change.get()
    assert found["f1"] == pytest.approx(f1.get(), rel=1e-12)
    assert found["log_loss"] == pytest.approx(loss.get(), rel=1e-12)
    assert found["prior_log_loss"] == pytest.approx(prior / _COUNT, rel=1e-12)


def test_multiclass_metrics_are_those_of_river() -> None:
    answers = outcomes(Task.MULTICLASS)
    found = told(Task.MULTICLASS, [answers]).metrics()
    accuracy, f1, loss = (
        metrics.Accuracy(),
        metrics.MacroF1(),
        0.0,
    )  # the first one has no known class: one class, the unknown
    rows = list(zip(answers.labels, answers.predicted, answers.scores.tolist(), strict=True))
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
    answers = outcomes(Task.REGRESSION)
    found = told(Task.REGRESSION, [answers]).metrics()
    mae, rmse, r2, prior, no_change = metrics.MAE(), metrics.RMSE(), metrics.R2(), metrics.MAE(), metrics.MAE()
    labels = np.asarray(answers.labels).tolist()
    for row, (label, score) in enumerate(zip(labels, answers.scores.tolist(), strict=True)):
        for metric in (mae, rmse, r2):
            metric.update(label, score)
        prior.update(label, math.fsum(labels[:row]) / row if row else 0.0)
        no_change.update(label, labels[row - 1] if row else 0.0)
    for name, metric in {"mae": mae, "rmse": rmse, "r2": r2, "prior_mae": prior, "no_change_mae": no_change}.items():
        assert found[name] == pytest.approx(metric.get(), rel=1e-6), name


@pytest.mark.parametrize("task", list(Task))
def test_examples_before_the_declared_time_are_learned_but_not_scored(task: Task) -> None:
    answers = outcomes(task)
    score_from = int(answers.times[1_000])
    found = told(task, [answers], score_from).metrics()
    later = answers.times >= score_from
    assert found["scored"] == int(later.sum())
    if task is Task.BINARY:
        correct = ((answers.scores > 0.5) == (np.asarray(answers.labels) > 0.5))[later]
        assert found["accuracy"] == correct.sum() / len(correct)


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_diverged_model_is_told_by_finite_numbers(task: Task, value: float) -> None:
    answers = outcomes(task, 10)
    scores = np.full(10, value)
    found: dict[str, Any] = told(task, [dataclasses.replace(answers, scores=scores)]).metrics()
    assert all(math.isfinite(metric) for metric in found.values())
    assert found["scored"] == 10
    assert found["mae" if task is Task.REGRESSION else "log_loss"] > 10 or value == math.inf


@pytest.mark.parametrize("task", list(Task))
def test_nothing_scored_has_defined_metrics(task: Task) -> None:
    found = told(task, [Outcomes(np.empty(0, np.int64), [], np.empty(0))]).metrics()
    assert found.pop("roc_auc", 0.5) == 0.5
    assert set(found.values()) == {0.0}


def test_history_has_a_point_each_step_on_the_newest_window() -> None:
    answers = outcomes(Task.BINARY, 12_500)
    points = told(Task.BINARY, [answers]).points
    assert [point.examples for point in points] == list(range(1_000, 12_001, 1_000))
    assert [point.window for point in points] == [1_000, 2_000, 3_000, 4_000, *[5_000] * 8]
    last = slice(12_000 - 5_000, 12_000)
    correct = ((answers.scores > 0.5) == (np.asarray(answers.labels) > 0.5))[last]
    assert points[-1].metrics["accuracy"] == correct.sum() / 5_000
    assert points[-1].time == answers.times[last][-1]


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
    # An improvement raises no alarm.
    losses[20_000:] /= 4
    better = DriftAlarm()
    better.update(losses, times)
    assert better.alarms == 0


@pytest.mark.parametrize("task", list(Task))
def test_weights_count_in_every_mean(task: Task) -> None:
    """An example with a weight of 20 counts as 20 examples do."""
    answers = outcomes(task, 400, weighted=True)
    rows = np.repeat(np.arange(400), np.asarray(answers.weights).astype(int))
    repeated = Outcomes(
        answers.times[rows],
        [answers.labels[row] for row in rows] if isinstance(answers.labels, list) else np.asarray(answers.labels)[rows],
        answers.scores[rows],
        [answers.predicted[row] for row in rows] if answers.predicted else (),
        None,
        np.asarray(answers.prior)[rows],
        [answers.last[row] for row in rows] if isinstance(answers.last, list) else np.asarray(answers.last)[rows],
    )
    found, expected = told(task, [answers]).metrics(), told(task, [repeated]).metrics()
    for name in set(found) - {"scored", "drift_alarms"}:
        assert found[name] == pytest.approx(expected[name], rel=1e-9), name
    assert (found["scored"], expected["scored"]) == (400, len(rows))


def test_the_area_with_weights_is_that_of_all_pairs() -> None:
    answers = outcomes(Task.BINARY, 200, weighted=True)
    truth, weights = np.asarray(answers.labels) > 0.5, np.asarray(answers.weights)
    scores = np.where(answers.scores == NO_PREDICTION, answers.prior, answers.scores)
    wins = pairs = 0.0
    for one in np.flatnonzero(truth):
        for other in np.flatnonzero(~truth):
            pairs += weights[one] * weights[other]
            wins += weights[one] * weights[other] * ((scores[one] > scores[other]) + (scores[one] == scores[other]) / 2)
    assert exact_auc(scores, truth, weights) == pytest.approx(wins / pairs, rel=1e-12)
    assert told(Task.BINARY, [answers]).metrics()["roc_auc"] == pytest.approx(wins / pairs, abs=1e-3)


def test_calibration_is_the_distance_of_scores_and_shares() -> None:
    scores = np.array([0.0, 0.05, 0.11, 0.11, 0.95, 1.0])
    truth = np.array([0.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    quality = told(Task.BINARY, [Outcomes(np.arange(6), truth, scores, (), np.array([1.0, 1.0, 3.0, 1.0, 1.0, 1.0]))])
    curve = [(part.weight, part.score, part.share) for part in quality.reliability]
    assert curve == [(2.0, 0.025, 0.5), (4.0, pytest.approx(0.11), 0.25), (2.0, 0.975, 1.0)]
    assert quality.metrics()["ece"] == pytest.approx((2 * 0.475 + 4 * 0.14 + 2 * 0.025) / 8)
    assert told(Task.REGRESSION, [outcomes(Task.REGRESSION, 10)]).reliability == []


def test_scores_that_are_probabilities_are_calibrated() -> None:
    random = np.random.default_rng(1)
    scores = random.random(50_000)
    truth = (random.random(50_000) < scores).astype(np.float64)
    assert told(Task.BINARY, [Outcomes(np.arange(50_000), truth, scores)]).metrics()["ece"] < 0.01
    assert told(Task.BINARY, [Outcomes(np.arange(50_000), truth, scores**3)]).metrics()["ece"] > 0.1


def test_baselines_that_were_not_asked_have_no_metrics() -> None:
    answers = outcomes(Task.BINARY, 200)
    found = told(Task.BINARY, [Outcomes(answers.times, answers.labels, np.abs(answers.scores))]).metrics()
    assert not [name for name in found if name.startswith(("prior", "no_change", "worse"))]


def test_baselines_know_the_labels_of_their_question_and_no_others() -> None:
    """The labels alternate: no change is always wrong at once, and always right one label later."""
    labels = np.arange(400) % 2.0
    plain = Outcomes(np.arange(400), labels, np.full(400, 0.5))
    at_once = told(Task.BINARY, [as_of_question(Task.BINARY, plain, np.ones(400), 0)]).metrics()
    later = told(Task.BINARY, [as_of_question(Task.BINARY, plain, np.ones(400), 1)]).metrics()
    assert at_once["no_change_accuracy"] == 0.0
    assert later["no_change_accuracy"] == 398 / 400


@pytest.mark.parametrize("scale", [1.0, 1e100, 1e160, 1.7e308])
def test_large_labels_give_no_comfort(scale: float) -> None:
    """The labels have any size, and the model is off by a tenth of them."""
    random = np.random.default_rng(4)
    labels = scale * random.uniform(0.5, 1.0, 500)
    plain = Outcomes(np.arange(500), labels, labels - 0.1 * scale * random.choice([-0.05, 1.0], 500))
    found = told(Task.REGRESSION, [as_of_question(Task.REGRESSION, plain, np.ones(500), 0)]).metrics()
    off = np.abs(labels / scale - plain.scores / scale)
    assert found["mae"] == pytest.approx(scale * off.mean(), rel=1e-9)
    assert found["prior_mae"] == pytest.approx(scale * 0.125, rel=0.1)
    expected = 1 - (off**2).mean() / (labels / scale).var()
    assert math.isnan(found["r2"]) if scale > 1e150 else found["r2"] == pytest.approx(expected, rel=1e-9)
    assert found["rmse"] >= scale * math.sqrt((off**2).mean()) * (1 - 1e-9)
    assert found[MARK] == 0.0


@pytest.mark.parametrize("task", list(Task))
def test_a_model_that_is_worse_than_its_prior_is_marked(task: Task) -> None:
    def marked(count: int, scores: Any) -> float:
        answers = outcomes(task, count)
        return told(task, [dataclasses.replace(answers, scores=scores(answers))]).metrics()[MARK]

    bad = {Task.REGRESSION: lambda answers: answers.scores + 1e6}.get(
        task, lambda answers: np.full(len(answers.times), 1e-3)
    )
    good = {Task.REGRESSION: lambda answers: np.asarray(answers.labels)}.get(
        task,
        lambda answers: (
            np.abs(np.asarray(answers.labels) - 0.1) if task is Task.BINARY else np.full(len(answers.times), 0.9)
        ),
    )
    assert (marked(99, bad), marked(100, bad), marked(100, good)) == (0.0, 1.0, 0.0)
    assert marked(100, lambda answers: np.full(len(answers.times), math.nan)) == 1.0


def test_a_warning_names_the_figures_and_the_usual_causes() -> None:
    warning = warning_of("delay", {MARK: 1.0, "mae": 1e10, "prior_mae": 12.5, "r2": None})
    assert warning is not None
    assert warning.startswith(
        "delay is worse than its prior (mae 1e+10, the prior's 12.5). Usual causes: features that are"
    )
    assert warning_of("delay", {MARK: 0.0, "mae": 1.0}) is None
    assert warning_of("delay", {}) is None


def test_a_deviation_that_overflows_makes_no_perfect_model() -> None:
    labels = np.array([1.2e154, -1.2e154])
    found = told(Task.REGRESSION, [Outcomes(np.arange(2), labels, labels - 5e153)]).metrics()
    assert math.isnan(found["r2"])  # 0.83 in truth; the deviation exceeds the largest float, and the errors do not
    assert found["mae"] == pytest.approx(5e153)


def test_a_loss_that_is_no_number_is_worse_than_any_prior() -> None:
    assert is_worse({"mae": math.nan, "prior_mae": 1.0}, 100.0)
    assert not is_worse({"mae": 1.0, "prior_mae": math.nan}, 100.0)
