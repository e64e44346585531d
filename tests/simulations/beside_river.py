"""Compare a recorded loop with River's evaluation under late labels: what is compared, and how it differs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from headrace_learner.state_hash import state_hash
from tests.oracle.delayed import Evaluation, Floats, Questions, Ruler, figures, row_of
from tests.simulations.recorded import Recorded

#: The scorer evaluates the exported model, whose sums may differ in the last bits.
EXPORTED = 1e-12

#: headrace computes the area with bins of 0.1 % of a score; the error is at most half the share of pairs in one bin.
AREA = 5e-5

#: River's log loss is a running mean, and served answers are summed in the order in which they met their predictions.
SUMS = 1e-9


@dataclass(frozen=True)
class Check:
    """A comparison: how many values, how many of them differ, by how much at most, and how much is allowed."""

    what: str
    compared: int
    different: int
    greatest: float = 0.0
    allowed: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """All checks, and the figures of each evaluation by River."""

    checks: list[Check]
    by_place: Mapping[str, float]
    by_time: Mapping[str, float]
    served: Mapping[str, float]

    @property
    def different(self) -> int:
        """The number of values that differ."""
        return sum(check.different for check in self.checks)


@dataclass(frozen=True)
class LoopResults:
    """The results of headrace.

    Attributes
    ----------
    scores
        The prediction of the learner's code for each question of the log.
    metrics
        The metrics that it reports; those of the process that ran, if there is one.
    estimator
        The model in the learner's last checkpoint.
    """

    scores: Floats
    metrics: Mapping[str, float | None]
    estimator: Any


def compare(
    recorded: Recorded, places: Evaluation, times: Evaluation, loop_results: LoopResults, score_from: int | None
) -> Comparison:
    """Compare headrace's results with River's evaluations.

    Parameters
    ----------
    places
        The evaluation of the log's questions: the moments are places in the log.
    times
        The evaluation of the same questions, with event times as moments, and a copy of the model of each version that
        served.
    score_from
        Metrics cover questions from this event time on.
    """
    log, by_time = recorded.questions, times.questions
    of_places, of_times = figures(places, score_from), figures(times, score_from)
    of_served = _of_served(recorded, by_time, score_from)
    indices = {id: index for index, id in enumerate(log.ids)}
    in_log = [indices.get(id, -1) for id in by_time.ids]
    checks = [
        _order(recorded, times),
        _vectors(recorded),
        _equal("predictions: River by places, learner", places.scores, loop_results.scores),
        _equal("predictions: River by event times, learner", times.scores, _at(loop_results.scores, in_log)),
        _states(loop_results.estimator, places, times),
        _versions(recorded, times),
        *_metrics("River by places, loop", of_places, loop_results.metrics, SUMS),
        *_metrics("River by event times, loop", of_times, loop_results.metrics, SUMS),
        *_metrics("served predictions, loop", of_served, _served_only(loop_results.metrics), SUMS),
    ]
    return Comparison(checks, of_places, of_times, of_served)


def _equal(what: str, one: Floats, other: Floats, allowed: float = 0.0) -> Check:
    """Compare bit for bit, or within what is allowed."""
    if len(one) != len(other):
        return Check(what, max(len(one), len(other)), max(len(one), len(other)), np.inf, allowed)
    same = one.view(np.int64) == other.view(np.int64)
    gaps = np.where(same, 0.0, np.abs(one - other))
    gaps[np.isnan(gaps)] = np.inf
    different = gaps > allowed if allowed else ~same
    return Check(what, len(one), int(different.sum()), float(gaps.max(initial=0.0)), allowed)


def _at(values: Floats, indices: list[int]) -> Floats:
    """Return the values at these indices; NaN at index -1."""
    return np.append(values, np.nan)[indices]


def _order(recorded: Recorded, times: Evaluation) -> Check:
    """Compare the order of the log with the one that River makes of the event times."""
    of_log = ((recorded.questions.ids[index], asks) for index, asks in recorded.steps)
    of_river = ((times.questions.ids[index], asks) for index, asks in times.steps)
    different = sum(one != other for one, other in zip_longest(of_log, of_river))
    return Check("entries: River's order of event times, log", len(times.steps), different)


def _vectors(recorded: Recorded) -> Check:
    """Compare the vectors of the log with those of the features topic."""
    log = recorded.questions
    rows = [recorded.vectors.get(id, -1) for id in log.ids]
    known = np.append(recorded.numbers, np.full((1, len(log.names)), np.inf), axis=0)[rows]
    same = (known.view(np.int64) == log.numbers.view(np.int64)) | (np.isnan(known) & np.isnan(log.numbers))
    different = int((~same.all(axis=1)).sum()) + abs(len(recorded.vectors) - len(log))
    return Check("vectors: features topic, log", len(log), different)


def _states(estimator: Any, *evaluations: Evaluation) -> Check:
    """Compare the final state of the running learner with River's models after the last answer."""
    mine = state_hash(_in_one_order(estimator))
    digests = [state_hash(_in_one_order(evaluation.models[max(evaluation.models)])) for evaluation in evaluations]
    return Check("models in the end: River, checkpoint", len(digests), sum(digest != mine for digest in digests))


def _in_one_order(estimator: Any) -> Any:
    """Return a copy with its scaler's keys sorted: early questions add their keys to River's model, not to ours."""
    estimator = copy.deepcopy(estimator)
    scaler = estimator["StandardScaler"]
    scaler.means, scaler.vars = (dict(sorted(values.items())) for values in (scaler.means, scaler.vars))
    return estimator


def _versions(recorded: Recorded, times: Evaluation) -> Check:
    """Compare what was served with the prediction of River's model that had learned as many answers."""
    served, names = recorded.served, times.questions.names
    columns = zip(served.versions.tolist(), served.numbers, strict=True)
    scores = [
        times.models[version].predict_proba_one(row_of(names, numbers))[True] if version in times.models else np.nan
        for version, numbers in columns
    ]
    return _equal("served: River's version, scorer", np.array(scores, np.float64), served.scores, EXPORTED)


def _of_served(recorded: Recorded, by_time: Questions, score_from: int | None) -> dict[str, float]:
    """Return the metrics of what was served, in the order of serving."""
    labels = dict(zip(by_time.ids, by_time.labels, strict=True))
    ruler = Ruler(len(recorded.served.ids))
    for id, score in measured(recorded, score_from):
        ruler.add(score, labels[id])
    return ruler.metrics()


def measured(recorded: Recorded, score_from: int | None) -> Iterator[tuple[str, float]]:
    """Yield id and score of each answer that was served by a version with no more examples than were known."""
    served, known = recorded.served, _known(recorded)
    columns = (served.ids, served.times.tolist(), served.scores.tolist(), served.versions.tolist())
    for id, time, score, version in zip(*columns, strict=True):
        if known.get(id, -1) >= version and (score_from is None or time >= score_from):
            yield id, score


def _known(recorded: Recorded) -> dict[str, int]:
    """Return how many answers precede each question of the log that is answered, by event id."""
    log, known, answers = recorded.questions, dict[str, int](), 0
    for index, asks in recorded.steps:
        if log.labels[index] is None:
            continue
        if asks:
            known[log.ids[index]] = answers
        else:
            answers += 1
    return known


def _served_only(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the metrics of what was served, under the names of the others."""
    served = {name.removeprefix("served_"): value for name, value in metrics.items() if name.startswith("served_")}
    return {"scored": metrics["served"], **served} if served else {}


def _metrics(
    what: str, river: Mapping[str, float], loop_metrics: Mapping[str, float | None], sums: float
) -> Iterator[Check]:
    """Compare River's metrics, and those computed in the same order, with headrace's; the latter bit for bit."""
    served = what.startswith("served")
    for name, value in river.items():
        key = name.removeprefix("river_")
        if key not in loop_metrics:
            continue
        allowed = AREA if key == "roc_auc" else sums if served or key != name else 0.0
        other = loop_metrics[key]
        yield _equal(
            f"{name}: {what}", np.array([value]), np.array([np.nan if other is None else other], np.float64), allowed
        )
