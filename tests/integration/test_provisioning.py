"""A loop's topics on the official broker: partitions, retention, compaction; applying again changes nothing."""

from __future__ import annotations

from pathlib import Path

import pulsar
import pytest

from headrace import compiler
from headrace.cli.program import run
from headrace.definition import LoopDefinition
from headrace.errors import InvalidRequest
from headrace.runtime.pulsar.admin import UNLIMITED, Admin, Retention
from headrace.runtime.pulsar.log_reader import read_whole
from headrace.runtime.pulsar.producer import Producer
from headrace.runtime.pulsar.provisioning import provision
from headrace.v1 import models_pb2
from headrace.wire.topics import Topics
from headrace_learner.pulsar.version_publisher import VersionPublisher
from tests.brokers import Place, remove
from tests.deadline import until

pytestmark = pytest.mark.official

LOOP = """
from datetime import datetime
from river.linear_model import LogisticRegression
from headrace import Count, Label, Loop, Model, Stream, View

Loop("shop", compact_models=1_000_000, dead_letters_retention="2w")

class Asked(Stream, key="shop", time="at", id="id", partitions=4, retention="30d"):
    id: str
    at: datetime
    shop: str

class Sold(Stream, key="shop", time="at", id="id", retention="forever"):
    id: str
    at: datetime
    shop: str
    late: bool

sales = View(Sold, by="shop", windows=["1h"], aggregates={"count": Count()})
Model(
    "m", on=Asked, label=Label(Sold, of=Asked, value=Sold.late, within="1h", name="late"), features=[sales],
    learner=lambda: LogisticRegression(), retention="7d",
)
"""
DAY = 24 * 60


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "loop.py"
    path.write_text(LOOP)
    return path


@pytest.fixture
def loop(file: Path) -> LoopDefinition:
    return compiler.load(file).definition


@pytest.fixture
def admin(official_place: Place) -> Admin:
    return Admin(str(official_place.admin_url))


def test_topics_are_as_declared_and_applying_again_changes_nothing(
    official_place: Place, admin: Admin, loop: LoopDefinition
) -> None:
    namespace = f"{official_place.namespace}-new"
    topics = Topics("shop", namespace)
    assert provision(admin, loop, namespace) > 0
    wanted = {
        topics.stream("asked"): (4, Retention(30 * DAY)),
        topics.stream("sold"): (0, UNLIMITED),
        topics.features("m"): (4, Retention(7 * DAY)),
        topics.predictions("m"): (4, Retention(7 * DAY)),
        topics.examples("m"): (0, UNLIMITED),
        topics.models: (0, Retention(7 * DAY)),
        topics.dead_letters: (0, Retention(14 * DAY, 1_024)),
    }
    assert {name: (admin.partitions(name), admin.topic_retention(name)) for name in wanted} == wanted
    assert admin.compaction_threshold(topics.models) == 1_000_000
    assert admin.compaction_threshold(topics.dead_letters) is None
    lines: list[str] = []
    assert provision(admin, loop, namespace, lines.append) == 0
    assert lines == []
    # Settings that somebody changed meanwhile are restored as declared.
    admin.set_topic_retention(topics.stream("asked"), Retention(1))
    assert provision(admin, loop, namespace, lines.append) == 1
    assert lines == [f"{topics.stream('asked')} is kept for 43,200 minutes"]
    remove(admin, namespace)
    assert not admin.has_namespace(namespace)


def test_other_partitions_are_told_and_left_alone(official_place: Place, admin: Admin, loop: LoopDefinition) -> None:
    name = official_place.topics("shop").stream("asked")
    admin.create_topic(name, 2)
    with pytest.raises(InvalidRequest, match="is there with 2 partitions, expected 4 partitions"):
        provision(admin, loop, official_place.namespace)
    assert admin.partitions(name) == 2
    admin.delete_topic(name)
    admin.delete_topic(name)
    admin.create_topic(name)
    with pytest.raises(InvalidRequest, match=r"is a plain topic \(1 partition\), expected 4 partitions"):
        provision(admin, loop, official_place.namespace)


def test_apply_says_what_it_did(
    official_place: Place, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADRACE_PULSAR_ADMIN_URL", raising=False)
    options = ["apply", str(file), "--namespace", official_place.namespace]
    assert run([*options, "--pulsar-admin", str(official_place.admin_url)]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert f"{official_place.topics('shop').stream('asked')} created, 4 partitions" in lines
    assert last == f"loop shop: 8 topics, {len(lines)} changes"
    monkeypatch.setenv("HEADRACE_PULSAR_ADMIN_URL", str(official_place.admin_url))
    assert run(options) == 0
    assert capsys.readouterr().out == "loop shop: 8 topics, 0 changes\n"
    assert run([*options, "--pulsar-admin", "http://127.0.0.1:1"]) == 3


def test_of_versions_the_newest_of_each_definition_stays(
    official_place: Place, admin: Admin, loop: LoopDefinition
) -> None:
    provision(admin, loop, official_place.namespace)
    topic = official_place.topics("shop").models
    # Messages that are not compacted yet are kept: this subscription holds them.
    assert "__compaction" in admin.stats(topic).subscriptions
    client = pulsar.Client(official_place.url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
    [model] = loop.models
    versions = VersionPublisher(client, topic)
    for examples in (100, 200, 300):
        for definition in ("older", model.hash):
            version = models_pb2.ModelVersion(model="m", definition=definition, examples=examples)
            versions.publish(version)
    versions.flush()
    producer = Producer(client, topic)
    producer.send(b"", key="m:gone")
    producer.flush()
    admin.compact(topic)
    until(lambda: admin.compaction(topic).status, lambda status: status == "SUCCESS")
    found = [
        models_pb2.ModelVersion.FromString(payload)
        for batch in read_whole(client, topic, compacted=True)
        for payload in batch.payloads
    ]
    assert [(version.definition, version.examples) for version in found] == [("older", 300), (model.hash, 300)]
    assert sum(len(batch) for batch in read_whole(client, topic)) == 7
    assert versions.newest(model, official_place.topics("shop").examples("m")).examples == 300
    client.close()
