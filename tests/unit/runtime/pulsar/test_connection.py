"""The options of a client of the broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace.definition import StreamDefinition
from headrace.errors import WrongPartitions
from headrace.runtime.pulsar.connection import connect, declared_partitions
from headrace.runtime.settings import ServiceSettings


def test_a_client_comes_in_by_the_listener_that_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[dict[str, Any]] = []

    class Client:
        def __init__(self, url: str, **options: Any) -> None:
            calls.append({"url": url, **options})

    monkeypatch.setattr("headrace.runtime.pulsar.connection.pulsar.Client", Client)
    monkeypatch.setenv("HEADRACE_PULSAR_URL", "pulsar://broker:6650")
    connect(ServiceSettings(loop=tmp_path))
    monkeypatch.setenv("HEADRACE_PULSAR_LISTENER", "outside")
    connect(ServiceSettings(loop=tmp_path))
    assert [(options["url"], options["listener_name"]) for options in calls] == [
        ("pulsar://broker:6650", None),
        ("pulsar://broker:6650", "outside"),
    ]


TOPIC = "persistent://public/default/shop-m-features"


class Broker:
    """A broker that has a topic with `partitions` partitions; 0 is a plain topic or none: clients see no difference."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions

    def get_topic_partitions(self, topic: str) -> list[str]:
        return [f"{topic}-partition-{index}" for index in range(self._partitions)] or [topic]


def stream(partitions: int) -> StreamDefinition:
    return StreamDefinition("asked", (), "id", "at", "id", 0, 0, partitions=partitions)


@pytest.mark.parametrize(("there", "declared"), [(0, 1), (1, 1), (4, 4)])
def test_a_topic_that_is_as_declared_has_a_physical_one_for_each_partition(there: int, declared: int) -> None:
    broker: Any = Broker(there)
    assert declared_partitions(broker, TOPIC, stream(declared)) == broker.get_topic_partitions(TOPIC)


@pytest.mark.parametrize(
    ("there", "declared", "says"),
    [
        (0, 4, "has 1 partition, but needs 4, as stream 'asked' declares: where it is not there yet, `headrace apply`"),
        (1, 4, f"`pulsar-admin topics update-partitioned-topic {TOPIC} -p 4` adds"),
        (3, 4, f"{TOPIC} has 3 partitions, but needs 4"),
        (2, 1, f"`pulsar-admin topics delete-partitioned-topic {TOPIC}`"),
    ],
)
def test_a_topic_that_is_otherwise_is_refused_with_its_cure(there: int, declared: int, says: str) -> None:
    broker: Any = Broker(there)
    with pytest.raises(WrongPartitions) as refused:
        declared_partitions(broker, TOPIC, stream(declared))
    assert says in str(refused.value)
