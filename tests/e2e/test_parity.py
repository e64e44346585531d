"""The whole system against a bare River loop: same rows, same accuracy, same model, to the last bit.

Events go in over gRPC, through Pulsar, are assembled, joined with labels that come later, and learned.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from river import base, linear_model, preprocessing, tree

from headrace import embedded
from headrace.client import IngestClient
from headrace.declare import load as load_loop
from headrace.log.topics import END_OF_HISTORY
from headrace_learner.checkpoint import Checkpoints
from headrace_learner.statehash import state_hash
from tests.deadline import until
from tests.e2e.datasets import LabelledRows, load, loop_file

EPOCH = 1_700_000_000_000_000
SECOND = 1_000_000


def bare(model: base.Classifier, data: LabelledRows) -> tuple[float, str]:
    """Predict, then learn, one row after another."""
    right = 0
    for x, y in data.rows:
        right += model.predict_one(x) == y
        model.learn_one(x, y)
    return right / len(data.rows), state_hash(model)


def linear_of(data: LabelledRows) -> base.Classifier:
    regression = linear_model.SoftmaxRegression if data.multiclass else linear_model.LogisticRegression
    return preprocessing.StandardScaler() | regression()


def send(address: str, data: LabelledRows) -> None:
    """Each row at its second; its answer half a second before the row ten places later."""
    with IngestClient(address) as client, client.stream() as stream:
        for start in range(0, len(data.rows) + 10, 500):
            rows = range(start, min(start + 500, len(data.rows)))
            stream.send("row", [_row(index, *data.rows[index][:1]) for index in rows])
            answers = range(max(start - 10, 0), min(start + 490, len(data.rows)))
            stream.send("answer", [_answer(index, data.rows[index][1]) for index in answers])
        for name in ("row", "answer"):
            stream.send(name, [], frontier=END_OF_HISTORY)
        result = stream.finish()
    assert result.rejected == 0


def _row(index: int, x: dict[str, float]) -> bytes:
    return orjson.dumps({"id": f"{index:06d}", "at": EPOCH + index * SECOND, **x})


def _answer(index: int, y: bool | str) -> bytes:
    return orjson.dumps({"id": f"{index:06d}", "at": EPOCH + index * SECOND + 9_500_000, "answer": y})


@pytest.mark.parametrize("name", ["Phishing", "Bananas", "ImageSegments", "Elec2"])
def test_the_system_learns_what_a_bare_loop_learns(name: str, tmp_path: Path) -> None:
    data = load(name)
    file = tmp_path / "loop.py"
    file.write_text(loop_file(data))
    expected: dict[str, Callable[[], Any]] = {
        "linear": lambda: bare(linear_of(data), data),
        "tree": lambda: bare(tree.HoeffdingTreeClassifier(), data),
    }
    with embedded.run(file, data=tmp_path / "data") as running:
        send(running.addresses["ingest"], data)
        learned = until(
            lambda: _metrics(running),
            lambda metrics: all(own["examples"] == len(data.rows) for own in metrics.values()) and len(metrics) == 2,
            seconds=180,
        )
    loop = load_loop(file)
    for model, run in expected.items():
        accuracy, state = run()
        assert learned[model]["accuracy"] == pytest.approx(accuracy, abs=0)
        (checkpoint,) = (tmp_path / "data").rglob(f"{model}.ckpt")
        learning = Checkpoints(checkpoint.parent, loop.definition.model(model)).load()
        assert learning is not None
        assert state_hash(learning.estimator) == state


def _metrics(running: embedded.RunningLoop) -> dict[str, dict[str, float]]:
    return {model: own for status in running.status() for model, own in status.metrics.items()}
