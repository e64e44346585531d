"""A model's thread on servers in memory: what it does in which order, and what it logs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from headrace.errors import Fenced, Unavailable
from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.model_versions import Newest
from headrace.wire.position import START
from headrace_learner.state_hash import state_hash
from tests.support.learner_fakes import NotedCheckpoints, Servers, batch, learned, messages, pipeline


def run(servers: Servers, directory: Path, make: Callable[[], Any] = pipeline) -> list[str]:
    """Run a learner to the end of its deliveries; return the names of what it logged."""
    with capture_logs() as logs:
        servers.learner(NotedCheckpoints(directory, servers.steps), make).run()
    return [entry["event"] for entry in logs]


def test_an_owner_publishes_then_saves_then_acknowledges(tmp_path: Path) -> None:
    servers = Servers([batch(messages()[:3]), batch(messages()[3:])])
    assert run(servers, tmp_path) == ["model_owned"]
    last = messages()[-1].position
    assert servers.steps == [
        "subscribe",
        ("acquire", "learner-careful"),
        ("start", START),
        ("version", 10),
        ("version", 20),
        ("version", 30),
        ("version", 40),
        "flush",
        "save",
        ("ack", last),
        "close",
    ]
    assert servers.reports[-1].position == last
    saved = NotedCheckpoints(tmp_path, []).load()
    assert saved is not None
    assert state_hash(saved.estimator) == state_hash(learned(40).estimator)


def test_a_restart_continues_from_the_checkpoint_and_publishes_nothing_twice(tmp_path: Path) -> None:
    parts = messages()
    run(Servers([batch(parts[:5])]), tmp_path)
    again = Servers([batch(parts[3:])], newest_version=Newest(20, taken_over=True))
    assert run(again, tmp_path) == ["model_owned"]
    assert ("start", parts[4].position) in again.steps
    assert [version.examples for version in again.versions] == [30, 40]


def test_a_standby_without_a_checkpoint_learns_the_log_and_sends_its_version_later(tmp_path: Path) -> None:
    parts = messages()
    servers = Servers(unowned=[batch(parts[:4])])

    class _Late(Batch):
        """No message, although time passes."""

        def __len__(self) -> int:
            servers.clock.now += 3.0
            return 0

    servers.deliveries = [_Late(), batch(parts[4:])]
    run(servers, tmp_path)
    assert servers.steps[:6] == [
        "subscribe",
        ("read", START),
        "end of reading",
        ("acquire", "learner-careful"),
        ("version", 20),
        ("start", parts[3].position),
    ]
    assert [version.examples for version in servers.versions] == [20, 30, 40]


def test_a_message_that_is_not_of_the_log_is_refused_and_passed(tmp_path: Path) -> None:
    delivery = batch(messages())
    delivery.payloads[2] = b"?"
    servers = Servers([delivery])
    assert run(servers, tmp_path)[:2] == ["model_owned", "message_refused"]
    assert [message.position for message in servers.refused] == [delivery.positions[2]]


def test_a_learner_that_is_fenced_starts_again_from_its_checkpoint(tmp_path: Path) -> None:
    parts = messages()
    servers = Servers([batch(parts[:2]), Fenced("learner-careful", 1), batch(parts)])
    assert run(servers, tmp_path) == ["model_owned", "learner_fenced", "model_owned"]
    assert [step for step in servers.steps if step[0] == "start"] == [("start", START)] * 2
    assert servers.epoch == 2


def test_a_broker_that_is_away_is_noted(tmp_path: Path) -> None:
    servers = _AwayServers([batch(messages()[:2])])
    learner = servers.learner(NotedCheckpoints(tmp_path, servers.steps))
    with capture_logs() as logs:
        learner.run()
    assert [entry["event"] for entry in logs] == ["model_owned", "server_unavailable"]
    assert learner.status.note == "broker: away"


def test_a_learner_that_fails_on_an_example_halts_until_it_is_skipped(tmp_path: Path) -> None:
    servers = Servers([batch(messages()), batch(messages())], skipped=[frozenset(), frozenset({14})])

    def make() -> Any:
        return _Choking() if len(servers.skipped) > 1 else pipeline()

    learner = servers.learner(NotedCheckpoints(tmp_path, servers.steps), make)
    with capture_logs() as logs:
        learner.run()
    events = ["model_owned", "learner_stopped", "example_skipped", "model_owned"]
    assert [entry["event"] for entry in logs] == events
    assert (learner.status.state, learner.status.stopped) == ("stopped", None)
    assert learner.status.examples == 39


def test_an_example_that_is_skipped_already_is_not_learned(tmp_path: Path) -> None:
    servers = Servers([batch(messages())], skipped=[frozenset({14})])
    learner = servers.learner(NotedCheckpoints(tmp_path, servers.steps))
    learner.run()
    assert learner.status.examples == 39


def test_a_new_owner_uses_the_checkpoint_that_another_owner_has_saved_meanwhile(tmp_path: Path) -> None:
    parts, skipped = messages(), frozenset({60})  # a question behind that checkpoint
    other = Servers([batch(parts[:4])])
    servers = _LateServers([batch(parts[4:])], skipped=[skipped], meanwhile=lambda: run(other, tmp_path))
    learner = servers.learner(NotedCheckpoints(tmp_path, servers.steps))
    learner.run()
    assert ("start", parts[3].position) in servers.steps
    assert learner.status.examples == 39


def test_compiled_code_that_cannot_be_loaded_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "headrace.engine.learning.compiled", None)
    servers = Servers([batch(messages())])
    with capture_logs() as logs:
        servers.learner(NotedCheckpoints(tmp_path, servers.steps)).run()
    assert [entry["log_level"] for entry in logs if entry["event"] == "learned_by_river"] == ["warning"]
    assert servers.versions[-1].examples == 40


def test_river_learns_where_compiled_learners_are_off(tmp_path: Path) -> None:
    servers = Servers([batch(messages())])
    learner = servers.learner(NotedCheckpoints(tmp_path, servers.steps), compiled_learners=False)
    with capture_logs() as logs:
        learner.run()
    assert logs[1] == {
        "event": "learned_by_river",
        "log_level": "info",
        "model": "careful",
        "reason": "The setting HEADRACE_COMPILED_LEARNERS is off",
    }
    assert learner.status.examples == 40


def test_first_choice_of_a_learner_is_reported(tmp_path: Path) -> None:
    parts = messages()
    servers = Servers([batch(parts[:2]), Fenced("learner-careful", 1), batch(parts)])
    refusals: list[Any] = []
    learner = servers.learner(
        NotedCheckpoints(tmp_path, servers.steps),
        compiled_learners=False,
        on_choice=lambda: refusals.append(learner._learning.state.refusal),
    )
    learner.run()
    assert servers.epoch == 2
    assert len(refusals) == 1
    assert refusals[0] is not None


def test_a_start_that_may_compile_is_noted(tmp_path: Path) -> None:
    servers = Servers([batch(messages())])
    notes: list[str] = []
    learner = servers.learner(
        NotedCheckpoints(tmp_path, servers.steps), on_change=lambda: notes.append(learner.status.note)
    )
    learner.run()
    assert "loads compiled code, which the first start after an installation compiles" in notes
    assert notes[-1] == ""


def test_first_versions_do_not_wait_for_compiled_code(tmp_path: Path) -> None:
    servers = Servers([batch(messages())])
    examples: list[int] = []
    learner = servers.learner(
        NotedCheckpoints(tmp_path, servers.steps),
        on_choice=lambda: examples.append(servers.versions[-1].examples),
    )
    learner.run()
    assert examples == [30]
    assert learner._learning.state.refusal is None
    assert servers.versions[-1].examples == 40


class _AwayServers(Servers):
    """Servers whose broker goes away after the deliveries, while the learner is stopped."""

    def check(self, work: str, epoch: int) -> None:
        if not self.deliveries:
            self.stop()
            raise Unavailable("broker: away")


class _Choking:
    """A learner that fails on the eighth row, whose question is the log's fifteenth entry."""

    def __init__(self) -> None:
        self._inner = pipeline()

    def predict_proba_one(self, x: dict[str, float]) -> dict[bool, float]:
        found: dict[bool, float] = self._inner.predict_proba_one(x)
        return found

    def learn_one(self, x: dict[str, float], y: bool) -> None:
        if x["n"] == 7.0:
            raise OverflowError("math range error")
        self._inner.learn_one(x, y)


@dataclass
class _LateServers(Servers):
    """Servers that grant the ownership late."""

    meanwhile: Callable[[], object] = lambda: None

    def acquire(self, work: str) -> int:
        self.meanwhile()
        return super().acquire(work)
