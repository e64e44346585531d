"""When a checkpoint is written, and what must be durable before."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.errors import Fenced
from headrace_learner.checkpoint_writer import CheckpointWriter
from headrace_learner.model_report import ModelReport
from tests.support.learner_fakes import MODEL, TOPIC, NotedCheckpoints, Servers, learned


def writer(servers: Servers, checkpoints: NotedCheckpoints) -> tuple[CheckpointWriter, ModelReport]:
    """Return the writer of an owner that has just taken over."""
    ownership, report, versions = servers.parts()
    ownership.acquire()
    versions.start(learned(0), TOPIC)
    made = CheckpointWriter(
        MODEL,
        checkpoints,
        longest=30.0,
        ownership=ownership,
        versions=versions,
        report=report,
        clock=servers.clock,
    )
    made.start()
    servers.steps.clear()
    return made, report


def test_versions_are_durable_before_a_checkpoint_calls_them_published(tmp_path: Path) -> None:
    servers = Servers()
    checkpoints = NotedCheckpoints(tmp_path, servers.steps)
    made, report = writer(servers, checkpoints)
    learning = learned(15)
    assert made.write(learning)
    assert servers.steps == ["flush", "save"]
    assert report.saved_position == learning.progress.position
    assert not made.write(learning)
    assert servers.steps == ["flush", "save"]
    loaded = checkpoints.load()
    assert loaded is not None
    assert loaded.progress == learning.progress


def test_a_fenced_process_saves_no_checkpoint(tmp_path: Path) -> None:
    servers = Servers()
    made, report = writer(servers, NotedCheckpoints(tmp_path, servers.steps))
    servers.fenced = True
    with pytest.raises(Fenced):
        made.write(learned(15))
    assert servers.steps == ["flush"]
    assert report.saved_position is None


def test_a_checkpoint_is_due_when_idle_after_a_version_and_after_a_while(tmp_path: Path) -> None:
    servers = Servers()
    made, _ = writer(servers, NotedCheckpoints(tmp_path, servers.steps))
    learning = learned(15)
    assert not made.is_due(learning, idle=True)  # half a second after the last one at the earliest
    servers.clock.now = 0.5
    assert made.is_due(learning, idle=True)
    assert not made.is_due(learning, idle=False)
    servers.clock.now = 30.0
    assert made.is_due(learning, idle=False)
    made.write(learning)
    servers.clock.now = 99.0
    assert not made.is_due(learning, idle=True)  # nothing has been learned since
    made.start()
    servers.clock.now = 100.0
    assert made.is_due(learning, idle=True)  # a new owner has acknowledged nothing yet
    learning.progress.published = 15
    assert made.is_due(learning, idle=False)


def test_after_a_full_disk_nothing_is_acknowledged_for_five_seconds(tmp_path: Path) -> None:
    servers = Servers()
    checkpoints = NotedCheckpoints(tmp_path, servers.steps, OSError(28, "No space left on device"))
    made, report = writer(servers, checkpoints)
    learning = learned(15)
    assert not made.write(learning)
    assert report.saved_position is None
    assert "checkpoint of careful not written, acknowledging nothing" in report.status.note
    servers.clock.now = 4.9
    assert not made.is_due(learning, idle=True)
    servers.clock.now = 5.0
    assert made.is_due(learning, idle=True)
    checkpoints.failure = None
    assert made.write(learning)
    assert report.status.note == ""
