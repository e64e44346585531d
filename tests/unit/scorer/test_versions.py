"""Which versions answer, and which are refused."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from headrace.definition import ModelDefinition
from headrace.engine.export import to_onnx
from headrace.engine.model_version import Version
from headrace.errors import CorruptState, NoModelYet, UnknownName
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.messages import WrongMessage
from headrace.runtime.pulsar.model_versions import versions_in
from headrace.v1 import models_pb2
from headrace.wire.position import Position
from headrace_scorer.versions import Versions
from tests.headers import header
from tests.unit.scorer.support import FRAUD, LOOP, SORT, WORTH, Notes, learner, version


def test_the_newest_of_each_model_answers() -> None:
    registry = Versions(LOOP, Notes())
    registry.offer([version(FRAUD, 40), version(WORTH, 50), version(FRAUD, 60)])
    assert registry.examples() == {"fraud": 60, "worth": 50}
    registry.offer([version(FRAUD, 80)])
    assert registry.current("fraud").examples == 80
    with pytest.raises(NoModelYet):
        registry.current("sort")


def test_the_newest_answers_wherever_an_older_one_stands() -> None:
    registry = Versions(LOOP, Notes())
    newer, older = version(FRAUD, 60), version(FRAUD, 40)
    # A learner that lost the model published after its successor.
    assert registry.offer([newer, older]) == {"fraud": newer}
    assert registry.offer([older]) == {}
    assert registry.examples() == {"fraud": 60}


def test_behind_one_that_is_damaged_the_next_one_answers() -> None:
    registry = Versions(LOOP, Notes())
    damaged = version(FRAUD, 1_000, onnx=b"not the one")
    registry.offer([version(FRAUD, 40), damaged, version(FRAUD, 60)])
    assert registry.examples() == {"fraud": 60}


def test_a_renamed_model_answers_to_both_names() -> None:
    models = tuple(structs.replace(model, alias="theft") if model is FRAUD else model for model in LOOP.models)
    registry = Versions(structs.replace(LOOP, models=models), Notes())
    registry.offer([version(FRAUD, 40)])
    assert registry.current("theft") is registry.current("fraud")
    assert registry.model("theft").name == "fraud"
    with pytest.raises(UnknownName, match="theft"):
        registry.current("fruad")


def other_task() -> bytes:
    return to_onnx(learner(SORT), SORT.features, SORT.task).onnx


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"onnx": b"not the one"}, "checksum"),
        ({"onnx": b"junk", "sha256": hashlib.sha256(b"junk").digest()}, "does not load"),
        ({"sha256": b""}, "checksum"),
        ({"task": "regression"}, "task is regression, not binary"),
        ({"definition": "0" * 16}, "made of definition 0000000000000000"),
        ({"model": "nobody"}, "no such model"),
    ],
)
def test_a_version_that_does_not_fit_is_refused_and_the_old_one_stays(changes: dict[str, Any], reason: str) -> None:
    notes = Notes()
    registry = Versions(LOOP, notes)
    registry.offer([version(FRAUD, 40)])
    registry.offer([version(FRAUD, 80, **changes)])
    assert reason in notes.reasons
    assert registry.examples() == {"fraud": 40}


def test_other_features_or_outputs_are_refused() -> None:
    swapped = version(FRAUD)
    first, second = swapped.features[0].name, swapped.features[1].name
    swapped.features[0].name, swapped.features[1].name = second, first
    with pytest.raises(CorruptState, match="features are not the definition's"):
        Version(FRAUD, swapped)
    onnx = other_task()
    with pytest.raises(CorruptState, match="does not run"):
        Version(WORTH, version(WORTH, onnx=onnx, sha256=hashlib.sha256(onnx).digest()))
    fewer = version(SORT)
    del fewer.classes[-1]
    with pytest.raises(CorruptState, match="output"):
        Version(SORT, fewer)


def test_tombstones_and_junk_change_nothing() -> None:
    payload = version(FRAUD).SerializeToString()
    payloads = [payload, b"", b"\xff\xff", payload]
    properties = [header(payload), {}, header(b"\xff\xff"), {"examples": "many"}]
    batch = Batch([Position(1, entry, -1) for entry in range(4)], payloads, properties, [0] * 4)
    wrong: list[WrongMessage] = []
    registry = Versions(LOOP, Notes())
    registry.offer(list(versions_in(batch, "models", wrong.append)))
    assert registry.examples() == {"fraud": 60}
    assert [one.position.entry for one in wrong] == [2, 3]
    assert [one.reason.problem[:26] for one in wrong] == ["it is no ModelVersion: Err", "it has no header"]


def test_a_multiclass_version_that_knows_no_class_yet_is_refused_with_a_reason() -> None:
    published = version(SORT, 0)
    assert isinstance(published, models_pb2.ModelVersion)
    with pytest.raises(CorruptState, match="knows no class yet"):
        Version(SORT, published)


def test_scores_have_one_entry_a_vector() -> None:
    found = Version(SORT, version(SORT)).score(np.zeros((7, 5)), None)
    assert found.score.shape == (7,)
    assert found.probabilities is not None
    assert found.winners is not None
    np.testing.assert_array_equal(found.probabilities[np.arange(7), found.winners], found.score)


@pytest.mark.parametrize("model", [FRAUD, WORTH, SORT], ids=lambda feature: feature.name)
def test_a_score_depends_on_what_is_scored_beside_it_in_its_last_bits_at_most(model: ModelDefinition) -> None:
    current = Version(model, version(model, 200))
    random = np.random.default_rng(3)
    numbers = random.normal(5, 3, (200, 5))
    numbers[random.random(numbers.shape) < 0.1] = np.nan
    texts = random.choice(np.array(["web", "pos", ""], object), (200, 1))
    alone = np.concatenate([current.score(numbers[at : at + 1], texts[at : at + 1]).score for at in range(200)])
    for size in (2, 3, 5, 7, 13, 64, 200):
        parts = [current.score(numbers[at : at + size], texts[at : at + size]).score for at in range(0, 200, size)]
        np.testing.assert_allclose(np.concatenate(parts), alone, rtol=1e-13)
