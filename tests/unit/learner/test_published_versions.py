"""The versions of a model on their topic: each once, in order, and never by a process that does not own the model."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from structlog.testing import capture_logs

from headrace.errors import Fenced
from headrace.runtime.pulsar.model_versions import Newest
from headrace.v1.models_pb2 import ModelVersion
from headrace_learner.takeover import Takeover
from tests.support.learner_fakes import MODEL, TOPIC, Servers, learned


def former_version(examples: int) -> ModelVersion:
    former = msgspec.structs.replace(MODEL, learner="former")
    return ModelVersion(
        model=MODEL.name,
        definition=former.hash,
        examples=examples,
        taken_over=True,
        model_definition=msgspec.json.encode(former),
    )


def sent(servers: Servers) -> list[tuple[int, bool]]:
    return [(version.examples, version.taken_over) for version in servers.versions]


def test_a_version_on_the_topic_is_not_sent_again() -> None:
    servers = Servers(newest_version=Newest(20, taken_over=True))
    ownership, report, versions = servers.parts()
    ownership.acquire()
    versions.start(learned(10), TOPIC)
    for count in (10, 20, 30):
        learning = learned(count)
        versions.publish(learning)
        assert learning.progress.published == count
    assert sent(servers) == [(30, True)]
    assert (report.status.published, report.status.versions) == (30, 1)


def test_the_version_of_a_standby_is_sent_when_it_becomes_the_owner() -> None:
    servers = Servers()
    ownership, _, versions = servers.parts()
    versions.store_unsent(learned(10))
    versions.store_unsent(learned(20))
    assert servers.versions == []
    ownership.acquire()
    learning = learned(20)
    versions.start(learning, TOPIC)
    versions.send_unsent(learning)
    versions.send_unsent(learning)
    assert sent(servers) == [(20, True)]


def test_a_standby_does_not_send_what_the_owner_has_sent() -> None:
    servers = Servers(newest_version=Newest(20, taken_over=True))
    ownership, _, versions = servers.parts()
    versions.store_unsent(learned(10))
    ownership.acquire()
    versions.start(learned(10), TOPIC)
    versions.send_unsent(learned(10))
    assert servers.versions == []


def test_an_unsent_version_is_discarded_with_its_checkpoint() -> None:
    servers = Servers()
    _, _, versions = servers.parts()
    versions.store_unsent(learned(20))
    versions.clear_unsent()
    versions.send_unsent(learned(10))
    assert servers.versions == []


def test_a_fenced_process_sends_no_version() -> None:
    servers = Servers()
    ownership, _, versions = servers.parts()
    ownership.acquire()
    versions.start(learned(0), TOPIC)
    servers.fenced = True
    with pytest.raises(Fenced):
        versions.publish(learned(10))
    assert servers.versions == []


def test_an_older_version_at_the_end_of_the_topic_is_followed_by_the_newest() -> None:
    servers = Servers(newest_version=Newest(20, is_last=False, taken_over=True))
    ownership, _, versions = servers.parts()
    ownership.acquire()
    versions.start(learned(10), TOPIC)
    versions.send_newest(learned(15))
    assert servers.versions == []
    versions.send_newest(learned(25))
    versions.send_newest(learned(30))
    assert sent(servers) == [(25, True)]


def test_a_version_of_more_examples_than_the_log_holds_is_corrected() -> None:
    servers = Servers(newest_version=Newest(99, taken_over=True))
    ownership, _, versions = servers.parts()
    ownership.acquire()
    versions.start(learned(0), TOPIC)
    with capture_logs() as logs:
        versions.correct(learned(30))
        versions.correct(learned(30))
    assert [(version.examples, version.corrects) for version in servers.versions] == [(30, True)]
    assert [(entry["event"], entry["claimed"], entry["learned"]) for entry in logs] == [("version_corrected", 99, 30)]


def test_the_broker_refuses_a_large_version_and_the_former_definition_stays() -> None:
    servers = Servers(newest_version=Newest(former=former_version(20), others=frozenset({"former"})), most=15)
    ownership, report, versions = servers.parts()
    ownership.acquire()
    versions.start(learned(0), TOPIC)
    versions.publish(learned(20))
    assert servers.steps == [("acquire", "learner-careful"), "flush"]
    assert "the version of 0 examples is not published" in versions.too_large
    assert report.status.note == versions.too_large
    servers.most = None
    versions.publish(learned(30))
    assert versions.too_large == ""


def test_a_former_definition_answers_until_enough_is_learned() -> None:
    servers = Servers(newest_version=Newest(former=former_version(30), others=frozenset({"b", "a"})))
    ownership, report, versions = servers.parts()
    ownership.acquire()
    learning = learned(10)
    versions.start(learning, TOPIC)
    assert report.status.takeover == Takeover(former_version(0).definition, 30, all_kept=True)
    versions.publish(learning)
    versions.end_takeover(learning)
    versions.end_takeover(learned(30))
    assert sent(servers) == [(10, False), (30, True)]
    assert servers.versions[-1].needed == 30
    assert report.status.takeover is None
    assert servers.steps[-2:] == ["flush", ("drop", ["a", "b"])]


def test_at_the_end_of_the_log_all_kept_examples_are_enough() -> None:
    servers = Servers(newest_version=Newest(former=former_version(30)))
    ownership, _, versions = servers.parts()
    ownership.acquire()
    versions.start(learned(0), TOPIC)
    versions.end_takeover(learned(20))
    versions.end_takeover(learned(20), at_end=True)
    assert sent(servers) == [(20, True)]


def test_former_definitions_are_dropped_after_a_takeover() -> None:
    servers = Servers(newest_version=Newest(10, taken_over=True, others=frozenset({"b", "a"})))
    ownership, _, versions = servers.parts()
    ownership.acquire()
    with capture_logs() as logs:
        versions.start(learned(10), TOPIC)
        servers.newest_version = replace(servers.newest_version, others=frozenset())
        versions.start(learned(10), TOPIC)
    assert servers.steps[1:] == ["flush", ("drop", ["a", "b"])]
    assert [(entry["event"], entry["instead_of"]) for entry in logs] == [("model_taken_over", ["a", "b"])]


def test_a_version_with_new_examples_is_due_after_the_declared_time() -> None:
    servers = Servers()
    model = msgspec.structs.replace(MODEL, publish_after=3_000_000)
    ownership, _, versions = servers.parts(model)
    ownership.acquire()
    learning = learned(15, model)
    versions.start(learning, TOPIC)
    servers.clock.now = 2.9
    versions.publish_if_overdue(learning)
    assert servers.versions == []
    servers.clock.now = 3.0
    versions.publish_if_overdue(learning)
    assert sent(servers) == [(15, True)]
    servers.clock.now = 9.0
    versions.publish_if_overdue(learning)
    assert sent(servers) == [(15, True)]
