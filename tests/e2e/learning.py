"""Run a data set through the whole system, and through a bare River loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
from river import base, evaluate, linear_model, metrics, preprocessing, tree

from headrace import embedded
from headrace.client import IngestClient
from headrace.compiler import load as load_loop
from headrace_learner.checkpoint import Checkpoints
from headrace_learner.state_hash import state_hash
from tests.deadline import until
from tests.e2e.datasets import LabelledRows

EPOCH = 1_700_000_000_000_000
SECOND = 1_000_000


#: Number of rows that are asked before the answer of a row is known.
DELAY = 10


def bare(name: str, data: LabelledRows) -> tuple[float, str]:
    """Predict at the question and learn at the answer, as River does: return the accuracy, and the state's hash."""
    model = tree.HoeffdingTreeClassifier() if name == "tree" else linear_of(data)
    steps = evaluate.iter_progressive_val_score(
        data.rows, model, metrics.Accuracy(), delay=DELAY, step=1, yield_predictions=True
    )
    right = sum(step["Prediction"] == y for step, (_, y) in zip(steps, data.rows, strict=True))
    return right / len(data.rows), state_hash(model)


def linear_of(data: LabelledRows) -> base.Classifier:
    regression = linear_model.SoftmaxRegression if data.multiclass else linear_model.LogisticRegression
    return preprocessing.StandardScaler() | regression()


def slices(data: LabelledRows, size: int = 500) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Yield rows and answers as events: a row each second, its answer half a second before the row ten places later."""
    for start in range(0, len(data.rows) + DELAY, size):
        rows = range(start, min(start + size, len(data.rows)))
        answers = range(max(start - DELAY, 0), min(start + size - DELAY, len(data.rows)))
        yield [_row(index, data.rows[index][0]) for index in rows], [_answer(i, data.rows[i][1]) for i in answers]


def send(address: str, parts: Sequence[tuple[list[bytes], list[bytes]]], final: bool) -> int:
    """Send events in one call; return how many were rejected."""
    with IngestClient(address) as client, client.stream() as stream:
        for rows, answers in parts:
            stream.send("row", rows)
            stream.send("answer", answers)
        for name in ("row", "answer") if final else ():
            stream.send(name, [], end=True)
        return stream.finish().rejected


def _row(index: int, x: dict[str, float]) -> bytes:
    return orjson.dumps({"id": f"{index:06d}", "at": EPOCH + index * SECOND, **x})


def _answer(index: int, y: bool | str) -> bytes:
    return orjson.dumps({"id": f"{index:06d}", "at": EPOCH + index * SECOND + 9_500_000, "answer": y})


def learned(running: embedded.RunningLoop, data: LabelledRows, seconds: float = 180) -> dict[str, float]:
    """Return the accuracy of each model, once all rows are learned."""

    def told() -> dict[str, dict[str, float]]:
        """Return each model's metrics from the learner that is furthest: standbys report metrics as well."""
        every = [(model, metrics) for status in running.status() for model, metrics in status.metrics.items()]
        return dict(sorted(every, key=lambda entry: entry[1].get("examples", 0)))

    found = until(
        told,
        lambda by_model: (
            len(by_model) == 2 and all(metrics["examples"] == len(data.rows) for metrics in by_model.values())
        ),
        seconds,
    )
    return {model: metrics["accuracy"] for model, metrics in found.items()}


def stored_state(file: Path, data: Path, model: str) -> str:
    """Return the hash of the state that a stopped loop left in its checkpoint."""
    (checkpoint,) = data.rglob(f"{model}.ckpt")
    learning = Checkpoints(checkpoint.parent, load_loop(file).definition.model(model)).load()
    assert learning is not None
    return state_hash(learning.estimator)
