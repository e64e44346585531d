"""A compiled learner and River itself over the same log."""

from __future__ import annotations

import copy
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from river import utils

from headrace.definition import Column, FeatureDefinition, FieldType, Task
from headrace.engine.learning.columns import Columns
from headrace.engine.learning.compiled import CompiledLearner
from headrace.engine.learning.refusal import Refusal
from headrace.wire.tables import Kind


def feature(name: str, type: FieldType = FieldType.FLOAT) -> FeatureDefinition:
    return FeatureDefinition(name, type, Column(name))


NUMBERS = tuple(feature(name) for name in "abcd")
TEXTS = tuple(feature(name, FieldType.STRING) for name in ("city", "b_x"))
#: Texts between numbers; the column of the category "x" of "b" would have the name of a feature.
MIXED = (NUMBERS[0], TEXTS[0], NUMBERS[1], TEXTS[1], *NUMBERS[2:])


@dataclass(frozen=True)
class Entry:
    """An entry of a log; a missing value is None."""

    kind: Kind
    values: Sequence[float | str | None]
    label: float = 0.0
    weight: float = 1.0


def columns(features: Sequence[FeatureDefinition], entries: Sequence[Entry]) -> Columns:
    texts = [place for place, each in enumerate(features) if each.type is FieldType.STRING]
    numbers = [place for place in range(len(features)) if place not in texts]
    return Columns(
        np.array([entry.kind for entry in entries], np.int8),
        np.array([[entry.values[place] for place in numbers] for entry in entries], np.float64).reshape(
            len(entries), len(numbers)
        ),
        [[entry.values[place] for entry in entries] for place in texts],  # type: ignore[misc]
        np.array([entry.label for entry in entries]),
        np.array([entry.weight for entry in entries]),
    )


def plain(value: Any, seen: tuple[int, ...] = ()) -> Any:
    """Return everything in an object, with types, every bit of its floats, and the order of its keys."""
    if isinstance(value, float):
        # Also the sign of NaN.
        return (type(value).__name__, struct.pack(">d", value))
    if value is None or isinstance(value, str | int | type | frozenset):
        return (type(value).__name__, value)
    if id(value) in seen:
        return "above"
    seen = (*seen, id(value))
    if isinstance(value, dict):
        return (type(value).__name__, [(key, plain(part, seen)) for key, part in value.items()])
    if isinstance(value, utils.VectorDict):
        return ("VectorDict", plain(value.__reduce__()[1], seen))
    if isinstance(value, set):
        return (type(value).__name__, sorted(value))
    if isinstance(value, list | tuple):
        return (type(value).__name__, [plain(part, seen) for part in value])
    if hasattr(value, "__dict__"):
        return (type(value).__name__, plain(vars(value), seen))
    return repr(type(value))


def by_river(estimator: Any, features: Sequence[FeatureDefinition], entries: Sequence[Entry], task: Task) -> list[Any]:
    """Ask and learn the entries with River; return the scores, and the error that ended it."""
    results: list[Any] = []
    learned = False
    for entry in entries:
        row = {
            each.name: value
            for each, value in zip(features, entry.values, strict=True)
            if value is not None and value != "" and value == value
        }
        try:
            if entry.kind is Kind.QUESTION:
                asked = estimator if learned else copy.deepcopy(estimator)
                score = asked.predict_proba_one(row)[True] if task is Task.BINARY else asked.predict_one(row)
                results.append(float(score).hex())
            elif entry.kind is Kind.ANSWER:
                label = entry.label > 0.5 if task is Task.BINARY else entry.label
                estimator.learn_one(row, label, **({} if entry.weight == 1.0 else {"w": entry.weight}))
                learned = True
        except Exception as error:
            results.append(repr(error))
            break
    return results


def compiled(estimator: Any, features: Sequence[FeatureDefinition], task: Task, examples: int = 0) -> CompiledLearner:
    learner = CompiledLearner.of(estimator, features, task, examples)
    assert not isinstance(learner, Refusal), learner.reason
    return learner


def by_compiled(
    learner: CompiledLearner, features: Sequence[FeatureDefinition], entries: Sequence[Entry], size: int, step: int
) -> list[Any]:
    """Ask and learn the entries in messages of a size, each in runs of `step` entries."""
    results: list[Any] = []
    for start in range(0, len(entries), size):
        part = entries[start : start + size]
        message = learner.prepared(columns(features, part))
        for first in range(0, len(part), step):
            last = min(first + step, len(part))
            run = learner.run(message, first, last)
            asked = [row for row in range(first, run.done) if part[row].kind is Kind.QUESTION]
            results.extend(float(message.scores[row]).hex() for row in asked)
            if run.error is not None:
                return [*results, repr(run.error)]
            assert run.done == last
    return results
