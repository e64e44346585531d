"""A model's scores by both ways: from River, and from the exported graph in the runtime that serves it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime
from river import preprocessing

from headrace.definition import FieldType, Task
from headrace.engine.export import Exported, present, score_one

Vector = dict[str, float | str | None]


class Feature(NamedTuple):
    name: str
    type: FieldType


FEATURES = (
    Feature("a", FieldType.FLOAT),
    Feature("carrier", FieldType.STRING),
    Feature("b", FieldType.FLOAT),
    Feature("weekday", FieldType.FLOAT),
    Feature("clock", FieldType.FLOAT),
    Feature("constant", FieldType.FLOAT),
    Feature("origin", FieldType.STRING),
)


def vector(rng: random.Random, *, missing: float, unseen: bool = False) -> Vector:
    """Generate rounded numbers (so that splits meet equal values), a large narrow one, a near constant, and text."""
    values: Vector = {
        "a": round(rng.gauss(0, 2), 1),
        "b": round(rng.gauss(5, 1), 2),
        "weekday": float(rng.randrange(9 if unseen else 7)),
        "clock": 1.7e9 + round(rng.gauss(0, 10)),
        "constant": 4.0 if unseen and rng.random() < 0.3 else 3.0,
        "carrier": rng.choice(["AA", "DL", "UA", "B6"] + (["ZZ", "é"] if unseen else [])),
        "origin": rng.choice(["JFK", "LGA", "EWR"] + (["AA"] if unseen else [])),
    }
    for feature in FEATURES:
        if rng.random() < missing:
            values[feature.name] = None if feature.type is FieldType.STRING else float("nan")
    return values


def label(rng: random.Random, values: Vector, task: Task) -> Any:
    known = present(values)
    score = (
        float(known.get("a", 0.0))
        + (1.5 if known.get("carrier") in ("AA", "DL") else -1.0)
        + (1.0 if known.get("weekday", 0.0) in (5.0, 6.0) else 0.0)
        + rng.gauss(0, 0.5)
    )
    if task is Task.REGRESSION:
        return score
    if task is Task.BINARY:
        return score > 0
    return "early" if score < -1 else "late" if score > 1 else "on time"


def train(model: Any, task: Task, examples: int, seed: int) -> Any:
    """Test, then train, as the learner does."""
    rng = random.Random(seed)
    for _ in range(examples):
        values = vector(rng, missing=0.1)
        x = present(values)
        score_one(model, x, task)
        model.learn_one(x, label(rng, values, task))
    return model


def session(exported: Exported) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(exported.onnx, options)


def run(exported: Exported, vectors: Sequence[Vector], features: Sequence[Feature] = FEATURES) -> npt.NDArray[Any]:
    """Return the scores of the exported model."""
    numbers = [f.name for f in features if f.type is FieldType.FLOAT]
    texts = [f.name for f in features if f.type is FieldType.STRING]
    inputs: dict[str, npt.NDArray[Any]] = {}
    if numbers:
        inputs["numbers"] = np.array([[v[n] for n in numbers] for v in vectors], dtype=np.float64)
    if texts:
        inputs["categories"] = np.array([[v[n] or "" for n in texts] for v in vectors], dtype=object)
    (scores,) = session(exported).run(None, inputs)
    return np.asarray(scores)


def assert_parity(model: Any, exported: Exported, task: Task, vectors: Sequence[Vector]) -> None:
    """Assert that the exported model scores as River does: to 1e-12, relative for large values of a regression."""
    if any(isinstance(step, preprocessing.MinMaxScaler) for step in steps_of(model)):
        vectors = [v for v in vectors if _answers(model, present(v), task)]
    expected = np.array([score_one(model, present(v), task, exported.classes) for v in vectors])
    actual = run(exported, vectors)
    assert actual.shape == expected.shape
    error = np.abs(actual - expected) / (np.maximum(1.0, np.abs(expected)) if task is Task.REGRESSION else 1.0)
    worst = int(error.reshape(len(vectors), -1).max(axis=1, initial=0.0).argmax())
    assert error.max(initial=0.0) <= 1e-12, (vectors[worst], actual[worst], expected[worst])


def _answers(model: Any, x: dict[str, float | str], task: Task) -> bool:
    """Return whether River's answer is a number: its MinMaxScaler makes NaN of a feature that it has never seen."""
    answer = model.predict_one(x) if task is Task.REGRESSION else sum(model.predict_proba_one(x).values())
    return not math.isnan(answer)


def steps_of(model: Any) -> Iterator[Any]:
    """Yield a model, and all estimators that it is composed of."""
    yield model
    for name in ("steps", "transformers"):
        for step in getattr(model, name, {}).values():
            yield from steps_of(step)
