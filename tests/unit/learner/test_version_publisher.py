"""Publishing versions: one that no broker accepts is reported, and does not block the others."""

from __future__ import annotations

from headrace.errors import TooLarge
from headrace.v1.models_pb2 import ModelVersion
from headrace_learner.pulsar.version_publisher import VersionPublisher
from tests.support.fake_topic import Topic


def test_a_version_that_is_too_large_is_told_and_the_next_one_is_sent() -> None:
    broker = Topic(most=5 * 2**20)
    versions = VersionPublisher(broker, "models")  # type: ignore[arg-type]
    sent = [ModelVersion(model="m", examples=n, onnx=b"x" * size) for n, size in enumerate((9, 6 * 2**20, 9))]
    for version in sent:
        versions.publish(version)
    versions.flush()
    assert [ModelVersion.FromString(payload).examples for payload in broker.taken] == [0, 2]
    assert isinstance(versions.too_large, TooLarge)
    assert "models has more bytes than the broker takes" in str(versions.too_large)
