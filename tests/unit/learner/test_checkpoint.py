"""Checkpoints: complete or refused, never loaded unverified, and the previous one is kept."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from river import tree

from headrace.definition import Task
from headrace.engine.learning import Learning
from headrace.errors import CorruptState
from headrace_learner import checkpoint
from headrace_learner.checkpoint import Checkpoints
from headrace_learner.state_hash import state_hash
from tests.unit.learner.logs import Row, definition, log

_ROWS: list[Row] = [{"x": float(row % 7), "y": float(row % 3)} for row in range(60)]
_LABELS = [row % 7 > 2 for row in range(60)]
_MODEL = definition("m", Task.BINARY, _ROWS[0])


def learned(count: int) -> Learning:
    learning = Learning(_MODEL, tree.HoeffdingTreeClassifier(grace_period=10))
    for message in log(_MODEL, _ROWS[:count], _LABELS[:count], [15], end=False):
        list(learning.read(message))
    return learning


def test_a_checkpoint_brings_everything_back(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", _MODEL)
    assert checkpoints.load() is None
    learning = learned(60)
    checkpoints.save(checkpoint.encode(learning))
    found = checkpoints.load()
    assert found is not None
    assert found.progress == learning.progress
    assert state_hash(found.estimator) == state_hash(learning.estimator)
    assert found.quality.metrics() == learning.quality.metrics()
    assert found.waiting.dump() == learning.waiting.dump()
    assert [path.name for path in checkpoints.path.parent.iterdir()] == ["m.ckpt"]
    header, _ = checkpoint.decode_header(checkpoints.path.read_bytes())
    assert (header.examples, header.metrics) == (60, learning.quality.metrics())


def test_a_renamed_model_goes_on_from_its_checkpoint_and_log(tmp_path: Path) -> None:
    Checkpoints(tmp_path, _MODEL).save(checkpoint.encode(learned(40)))
    features = tuple(structs.replace(feature, alias=f"{feature.name}_now") for feature in _MODEL.features)
    renamed = structs.replace(_MODEL, alias="n", features=features)
    found = Checkpoints(tmp_path, renamed).load()
    assert found is not None
    for message in log(_MODEL, _ROWS, _LABELS, [10], end=False):
        list(found.read(message))
    assert (found.model.title, found.progress.examples) == ("n", 60)
    assert state_hash(found.estimator) == state_hash(learned(60).estimator)


@pytest.mark.parametrize("place", [0, 30, 60, 200, -1])
def test_any_changed_byte_is_refused_and_the_checkpoint_before_is_used(tmp_path: Path, place: int) -> None:
    checkpoints = Checkpoints(tmp_path, _MODEL)
    checkpoints.save(checkpoint.encode(learned(40)))
    checkpoints.save(checkpoint.encode(learned(60)))
    data = bytearray(checkpoints.path.read_bytes())
    data[place] ^= 1
    with pytest.raises(CorruptState, match="checkpoint"):
        checkpoint.decode_header(bytes(data))
    checkpoints.path.write_bytes(data)
    found = checkpoints.load()
    assert found is not None
    assert found.progress.examples == 40


@pytest.mark.parametrize("length", [0, 10, 80, 1_000])
def test_a_file_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    checkpoints = Checkpoints(tmp_path, _MODEL)
    checkpoints.save(checkpoint.encode(learned(60)))
    checkpoints.path.write_bytes(checkpoints.path.read_bytes()[:length])
    assert checkpoints.load() is None


def test_another_definition_is_not_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Checkpoints(tmp_path, _MODEL).save(checkpoint.encode(learned(60)))

    def refuse(data: Any) -> Any:
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "loads", refuse)
    changed = definition("m", Task.BINARY, _ROWS[0], "another learner")
    assert Checkpoints(tmp_path, changed).load() is None
    data = bytearray(checkpoint.encode(learned(60)))
    data[-1] ^= 1
    with pytest.raises(CorruptState):
        checkpoint.decode(_MODEL, bytes(data))


def test_a_model_that_this_river_cannot_load_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = checkpoint.encode(learned(60))
    monkeypatch.setattr("river.tree.hoeffding_tree_classifier.HoeffdingTreeClassifier", None)
    with pytest.raises(CorruptState, match="cannot be loaded"):
        checkpoint.decode(_MODEL, data)


def test_only_what_is_newer_is_loaded(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, _MODEL)
    checkpoints.save(checkpoint.encode(learned(40)))
    assert checkpoints.load(beyond=40) is None
    assert checkpoints.load(beyond=39) is not None


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, _MODEL)
    checkpoints.save(checkpoint.encode(learned(40)))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            checkpoints.save(checkpoint.encode(learned(60)))
    found = checkpoints.load()
    assert found is not None
    assert found.progress.examples == 40
    assert [path.name for path in tmp_path.iterdir()] == ["m.ckpt"]
