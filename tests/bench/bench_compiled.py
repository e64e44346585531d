"""Measure the compiled learner beside bare River, in turns, over the same examples in the same process.

Bare River predicts each row, then learns it; the rows are dictionaries in memory. The compiled learner asks and learns
the same rows in messages of 2,000 entries, from the columns of a decoded message to the state of the River object after
the last one. Times are CPU times. `equal` says whether scores and weights were equal to the last bit.

    python -m tests.bench.bench_compiled [examples]
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from river import compose, linear_model, optim, preprocessing

from headrace.definition import Column, FeatureDefinition, FieldType, Task
from headrace.engine.learning.columns import Columns
from headrace.engine.learning.compiled import CompiledLearner, equals_river
from headrace.engine.learning.refusal import Refusal
from headrace.wire.tables import Kind

NUMBERS, TEXTS = 20, 2
MESSAGE = 2_000
ROUNDS = 5


def standard(optimizer: Any, **parameters: Any) -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer, **parameters)


def encoded() -> Any:
    numbers = compose.SelectType(float) | preprocessing.StandardScaler()
    texts = compose.SelectType(str) | preprocessing.OneHotEncoder(drop_zeros=True)
    return (numbers + texts) | linear_model.LogisticRegression(optim.AdaGrad(0.01))


#: Each with the number of its text features.
LEARNERS: dict[str, tuple[Callable[[], Any], int]] = {
    "sgd": (lambda: standard(optim.SGD(0.01)), 0),
    "adagrad": (lambda: standard(optim.AdaGrad(0.01), intercept_lr=0.0002), 0),
    "adam": (lambda: standard(optim.Adam(0.01)), 0),
    "rmsprop": (lambda: standard(optim.RMSProp(0.01)), 0),
    "ftrl": (lambda: standard(optim.FTRLProximal()), 0),
    "l1": (lambda: standard(optim.SGD(0.01), l1=1e-4), 0),
    "one-hot": (encoded, TEXTS),
    "ids": (encoded, TEXTS),
}

#: The number of categories of a text.
CATEGORIES = {"ids": 100_000}


def features(texts: int) -> tuple[FeatureDefinition, ...]:
    numbers = [FeatureDefinition(f"number_{i}", FieldType.FLOAT, Column(f"number_{i}")) for i in range(NUMBERS)]
    categories = [FeatureDefinition(f"text_{i}", FieldType.STRING, Column(f"text_{i}")) for i in range(texts)]
    return (*numbers, *categories)


def examples(count: int, texts: int, distinct: int) -> Columns:
    """Return questions, each with its answer after it: some rows lack a feature."""
    random = np.random.default_rng(7)
    numbers = random.normal(size=(count, NUMBERS))
    labels = (random.random(count) < 1 / (1 + np.exp(-numbers @ random.normal(size=NUMBERS)))).astype(np.float64)
    numbers[random.random(count) < 0.02, 3] = np.nan
    categories = [[f"c{code}" for code in random.integers(0, distinct, count)] for _ in range(texts)]
    return Columns(
        np.tile(np.array([Kind.QUESTION, Kind.ANSWER], np.int8), count),
        np.repeat(numbers, 2, axis=0),
        [[text for text in column for _ in range(2)] for column in categories],
        np.repeat(labels, 2),
        np.ones(2 * count),
    )


def rows(columns: Columns, names: list[str]) -> list[tuple[dict[str, Any], bool]]:
    """Return the examples as River takes them."""
    texts = [column[::2] for column in columns.categories]
    return [
        ({name: value for name, value in zip(names, (*numbers, *words), strict=True) if value == value}, label > 0.5)
        for numbers, label, *words in zip(
            columns.numbers[::2].tolist(), columns.labels[::2].tolist(), *texts, strict=True
        )
    ]


def by_river(estimator: Any, examples: list[tuple[dict[str, Any], bool]]) -> tuple[float, list[float]]:
    """Return the seconds and the scores of predict, then learn."""
    predict, learn, scores = estimator.predict_proba_one, estimator.learn_one, list[float]()
    started = time.process_time()
    for row, label in examples:
        scores.append(predict(row)[True])
        learn(row, label)
    return time.process_time() - started, scores


def by_compiled(
    estimator: Any, definition: tuple[FeatureDefinition, ...], parts: list[Columns]
) -> tuple[float, list[float]]:
    """Return the seconds and the scores of the same by compiled code."""
    scores: list[float] = []
    started = time.process_time()
    learner = CompiledLearner.of(estimator, definition, Task.BINARY)
    if isinstance(learner, Refusal):
        raise RuntimeError(learner.reason)
    for part in parts:
        message = learner.prepared(part)
        learner.run(message, 0, len(part))
        scores.extend(message.scores[::2].tolist())
    learner.to_river()
    return time.process_time() - started, scores


def messages(columns: Columns) -> list[Columns]:
    """Split the examples into messages."""
    return [
        Columns(
            columns.kinds[start : start + MESSAGE],
            columns.numbers[start : start + MESSAGE],
            [column[start : start + MESSAGE] for column in columns.categories],
            columns.labels[start : start + MESSAGE],
            columns.weights[start : start + MESSAGE],
        )
        for start in range(0, len(columns), MESSAGE)
    ]


def measured(make: Callable[[], Any], texts: int, distinct: int, count: int) -> dict[str, Any]:
    """Measure one learner against River, in turns."""
    definition, columns = features(texts), examples(count, texts, distinct)
    dictionaries, parts = rows(columns, [feature.name for feature in definition]), messages(columns)
    started = time.process_time()
    on_this_machine = equals_river(make(), definition, Task.BINARY)  # also loads the compiled code
    check = time.process_time() - started
    river_times, compiled_times, equal = [], [], True
    for _ in range(ROUNDS):
        river, compiled = make(), make()
        seconds, expected = by_river(river, dictionaries)
        river_times.append(seconds)
        seconds, scores = by_compiled(compiled, definition, parts)
        compiled_times.append(seconds)
        equal &= scores == expected and list(compiled[-1].weights.items()) == list(river[-1].weights.items())
    ratios = [slow / fast for slow, fast in zip(river_times, compiled_times, strict=True)]
    return {
        "river_per_s": round(count / statistics.median(river_times)),
        "compiled_per_s": round(count / statistics.median(compiled_times)),
        "ratio": round(statistics.median(ratios), 1),
        "ratio_spread": [round(min(ratios), 1), round(max(ratios), 1)],
        "equal": equal,
        "machine_check": on_this_machine,
        "machine_check_s": round(check, 3),
    }


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    results = {name: measured(make, texts, CATEGORIES.get(name, 40), count) for name, (make, texts) in LEARNERS.items()}
    print(json.dumps({"compiled": {"examples": count, "numbers": NUMBERS, "rounds": ROUNDS, **results}}))


if __name__ == "__main__":
    main()
