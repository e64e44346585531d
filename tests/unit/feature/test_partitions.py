"""The feature service begins only if each partition has an output partition of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from headrace.definition import LoopDefinition
from headrace.errors import WrongPartitions
from headrace.runtime.redis.status import Heartbeat, ServiceStatus, StatusBoard
from headrace_feature.pulsar.feature_lanes import FeatureLanes
from headrace_feature.settings import FeatureSettings
from tests.support import join_fakes


class Broker:
    """A broker that has these topics with these numbers of partitions."""

    def __init__(self, **partitions: int) -> None:
        self._partitions = partitions
        self.written: list[str] = []

    def get_topic_partitions(self, topic: str) -> list[str]:
        count = self._partitions[topic.rpartition("-")[2]]
        return [f"{topic}-partition-{index}" for index in range(count)]

    def create_producer(self, topic: str, **_: Any) -> None:
        self.written.append(topic)


def loop(tmp_path: Path, vectors: str) -> LoopDefinition:
    definition = join_fakes.loop(tmp_path, vectors)
    streams = tuple(msgspec.structs.replace(stream, partitions=2) for stream in definition.streams)
    return msgspec.structs.replace(definition, streams=streams)


def service(definition: LoopDefinition, role: str, broker: Any) -> FeatureLanes:
    # The store is not used before something is delivered.
    store = redis.Redis()
    heartbeat = Heartbeat(StatusBoard(store, "loop"), ServiceStatus(service="feature", instance="one"))
    settings = FeatureSettings(loop=Path("unused"), role=role)  # type: ignore[arg-type]
    return FeatureLanes(settings, definition, client=broker, store=store, heartbeat=heartbeat)


@pytest.mark.parametrize("role", ["fold", "join", "all"])
@pytest.mark.parametrize("features", [1, 3])
def test_a_features_topic_with_other_partitions_than_its_stream_is_refused(
    tmp_path: Path, role: str, features: int
) -> None:
    broker = Broker(asked=2, told=2, features=features)
    built = service(loop(tmp_path, "stream"), role, broker)
    with pytest.raises(WrongPartitions, match=f"-m-features has {features} partition.* needs 2, as stream 'asked'"):
        built.lanes()
    assert broker.written == []


@pytest.mark.parametrize("role", ["fold", "join"])
def test_a_stream_with_other_partitions_than_declared_is_refused(tmp_path: Path, role: str) -> None:
    built = service(loop(tmp_path, "stream"), role, Broker(asked=2, told=1, features=2))
    with pytest.raises(WrongPartitions, match="-told has 1 partition, but needs 2, as stream 'told' declares"):
        built.lanes()


def test_vectors_of_requests_stand_anywhere(tmp_path: Path) -> None:
    (lane,) = service(loop(tmp_path, "requests"), "join", Broker(asked=2, told=2, features=1)).lanes()
    names = [source.name.partition("-partition-")[0].rpartition("-")[2] for source in lane.sources]
    assert names == ["features", "told", "told"]
