"""A trial of the compiled learner on this machine: another C library may compute other last bits."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.definition import FeatureDefinition, Task
from headrace.engine.learning.compiled.kernel import LOG
from headrace.engine.learning.compiled.learner import Columns, CompiledLearner, River, places_of
from headrace.engine.learning.compiled.plan import Plan, Recognised, Refusal, recognise
from headrace.engine.learning.compiled.state import LearnedState
from headrace.wire.tables import Kind

#: Questions, each with its answer after it, that are asked and learned.
_EXAMPLES = 150

_CATEGORIES = ("north", "south", "east", None)

# Whether a plan passed, in this process.
_verdicts: dict[Plan, bool] = {}


def equals_river(estimator: Any, features: Sequence[FeatureDefinition], task: Task) -> bool:
    """Return whether the compiled form of a new estimator equals River on this machine, over random examples.

    The estimator is copied, and stays as it is. A plan is tried once in a process, in milliseconds.
    """
    recognised = recognise(estimator, features, task)
    if isinstance(recognised, Refusal):
        return False
    if recognised.plan not in _verdicts:
        _verdicts[recognised.plan] = _trial(estimator, features, task, recognised)
    return _verdicts[recognised.plan]


def _trial(estimator: Any, features: Sequence[FeatureDefinition], task: Task, recognised: Recognised) -> bool:
    columns = _columns(features, binary=task is Task.BINARY)
    compiled, interpreted = copy.deepcopy(estimator), copy.deepcopy(estimator)
    learner = CompiledLearner.of(compiled, features, task)
    if isinstance(learner, Refusal):
        return False
    run = learner.run(learner.prepared(columns), 0, len(columns))
    learner.to_river()
    river = River(interpreted, features, binary=recognised.plan.settings.loss == LOG)
    scores = np.full(len(columns), np.nan)
    for row in range(len(columns)):
        river.run(columns, scores, row)
    same_scores = np.array_equal(run.scores, scores, equal_nan=True)
    return same_scores and _contents(compiled, features, task) == _contents(interpreted, features, task)


def _columns(features: Sequence[FeatureDefinition], *, binary: bool) -> Columns:
    """Return questions and answers with numbers of all magnitudes, some of which are missing."""
    random = np.random.default_rng(42)
    numbers, texts = (len(places) for places in places_of(features))
    count = 2 * _EXAMPLES
    values = random.normal(size=(_EXAMPLES, numbers)) * 10.0 ** random.uniform(-4, 4, size=numbers)
    values[random.random(values.shape) < 0.05] = np.nan
    labels = random.normal(size=_EXAMPLES)
    return Columns(
        np.tile(np.array([Kind.QUESTION, Kind.ANSWER], np.int8), _EXAMPLES),
        np.repeat(values, 2, axis=0),
        [[_CATEGORIES[code] for code in random.integers(0, len(_CATEGORIES), count)] for _ in range(texts)],
        np.repeat((labels > 0.0).astype(np.float64) if binary else labels, 2),
        np.repeat(random.choice([1.0, 0.25], _EXAMPLES), 2),
    )


def _contents(estimator: Any, features: Sequence[FeatureDefinition], task: Task) -> Any:
    """Return everything that an estimator has learned, in order."""
    recognised = recognise(estimator, features, task)
    if isinstance(recognised, Refusal):
        return recognised
    state = LearnedState.from_river(recognised, [feature.name for feature in features], _EXAMPLES)
    if isinstance(state, Refusal):
        return state
    return state.contents(), state.arrays.scalars.tolist(), state.arrays.counters.tolist()
