"""A trial of the compiled learner on this machine: another C library may compute other last bits."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from headrace.definition import FeatureDefinition, Task
from headrace.engine.arrays import Floats
from headrace.engine.learning.columns import Columns
from headrace.engine.learning.compiled.c_library import addresses, equals_python
from headrace.engine.learning.compiled.learner import CompiledLearner, RiverLearner, places_of
from headrace.engine.learning.compiled.plan import Plan, recognise
from headrace.engine.learning.compiled.state import LearnedState
from headrace.engine.learning.ordered_sets import in_order
from headrace.engine.learning.refusal import Refusal
from headrace.wire.tables import Kind

#: Questions, each with its answer after it, that are asked and learned.
_EXAMPLES = 150

_CATEGORIES = ("north", "south", "east")

# Whether a plan passed, in this process.
_verdicts: dict[Plan, bool] = {}


def equals_river(estimator: Any, features: Sequence[FeatureDefinition], task: Task) -> bool:
    """Return whether the compiled form of an estimator equals River on this machine, over random examples.

    A new estimator of the same parameters is tried, because its sums show differences that single functions do not.
    A plan is tried once in a process, in milliseconds.

    Parameters
    ----------
    estimator
        A River pipeline or estimator, whose sets are in order: see `headrace.engine.learning.ordered_sets`.
    features
        The features of the model, in order.
    task
        The model's task.
    """
    library, recognised = addresses(), recognise(estimator, features, task)
    if library is None or not equals_python(library) or isinstance(recognised, Refusal):
        return False
    if recognised.plan not in _verdicts:
        _verdicts[recognised.plan] = _trial(in_order(estimator.clone()), features, task, recognised.plan)
    return _verdicts[recognised.plan]


def _trial(estimator: Any, features: Sequence[FeatureDefinition], task: Task, plan: Plan) -> bool:
    recognised = recognise(estimator, features, task)
    if isinstance(recognised, Refusal) or recognised.plan != plan:
        return False
    # `Select` fails where a feature is missing.
    columns = _columns(features, binary=task is Task.BINARY, missing=0.0 if plan.picks else 0.05)
    compiled, interpreted = copy.deepcopy(estimator), copy.deepcopy(estimator)
    learner = CompiledLearner.of(compiled, features, task)
    if isinstance(learner, Refusal):
        return False
    message = learner.prepared(columns)
    run = learner.run(message, 0, len(columns))
    learner.to_river()
    scores, error = _by_river(interpreted, features, task, columns)
    same = np.array_equal(message.scores, scores, equal_nan=True) and repr(run.error) == repr(error)
    return same and _contents(compiled, features, task) == _contents(interpreted, features, task)


def _by_river(
    estimator: Any, features: Sequence[FeatureDefinition], task: Task, columns: Columns
) -> tuple[Floats, Exception | None]:
    """Return the scores of the estimator itself, and the error that ended it."""
    river = RiverLearner(estimator, features, task)
    scores = np.full(len(columns), np.nan)
    # NumPy's numbers, which River has in places, warn where Python's do not.
    with np.errstate(all="ignore"):
        for row in range(len(columns)):
            try:
                river.run(columns, scores, row)
            except Exception as error:
                return scores, error
    return scores, None


def _columns(features: Sequence[FeatureDefinition], *, binary: bool, missing: float) -> Columns:
    """Return questions and answers with numbers of all magnitudes; a share of the values is missing."""
    random = np.random.default_rng(42)
    numbers, texts = (len(places) for places in places_of(features))
    count = 2 * _EXAMPLES
    values = random.normal(size=(_EXAMPLES, numbers)) * 10.0 ** random.uniform(-4, 4, size=numbers)
    values[random.random(values.shape) < missing] = np.nan
    labels = random.normal(size=_EXAMPLES)
    return Columns(
        np.tile(np.array([Kind.QUESTION, Kind.ANSWER], np.int8), _EXAMPLES),
        np.repeat(values, 2, axis=0),
        [_texts(random, count, 5.0 * missing) for _ in range(texts)],
        np.repeat((labels > 0.0).astype(np.float64) if binary else labels, 2),
        np.repeat(random.choice([1.0, 0.25], _EXAMPLES), 2),
    )


def _texts(random: np.random.Generator, count: int, missing: float) -> list[str | None]:
    texts = random.choice(np.array(_CATEGORIES, np.object_), count)
    texts[random.random(count) < missing] = None
    return list(texts)


def _contents(estimator: Any, features: Sequence[FeatureDefinition], task: Task) -> str:
    """Return everything that an estimator has learned, in order; as text, in which NaN equals NaN."""
    recognised = recognise(estimator, features, task)
    if isinstance(recognised, Refusal):
        return recognised.reason
    state = LearnedState.from_river(recognised, [feature.name for feature in features], _EXAMPLES)
    if isinstance(state, Refusal):
        return state.reason
    return repr((state.contents(), state.arrays.scalars.tolist(), state.arrays.counters.tolist()))
