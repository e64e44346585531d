"""The topics of a loop, and how long they are kept; an admin's errors about what cannot be."""

from __future__ import annotations

import pytest
from msgspec import structs

from headrace.errors import InvalidRequest, Unavailable
from headrace.runtime.pulsar.admin import UNLIMITED, Admin, Retention
from headrace.runtime.pulsar.provisioning import Topic, retention_of, topics_of
from tests.support.kernel_loop import loop

MINUTE = 60_000_000


def test_what_is_made_of_a_stream_has_its_partitions() -> None:
    [model] = loop(4).models
    declared = structs.replace(
        loop(4),
        models=(structs.replace(model, retention=2 * MINUTE, examples_retention=3 * MINUTE),),
        compact_models=7,
        dead_letters_retention=5 * MINUTE,
    )
    declared = structs.replace(
        declared, streams=tuple(structs.replace(stream, retention=MINUTE) for stream in declared.streams)
    )
    found = {topic.name.removeprefix("persistent://t/n/l-"): topic for topic in topics_of(declared, "t/n")}
    assert {name: (topic.partitions, topic.retention, topic.compaction) for name, topic in found.items()} == {
        "a": (4, MINUTE, 0),
        "b": (4, MINUTE, 0),
        "m-features": (4, 2 * MINUTE, 0),
        "m-predictions": (4, 2 * MINUTE, 0),
        "m-examples": (1, 3 * MINUTE, 0),
        "models": (1, 7 * 24 * 60 * MINUTE, 7),
        "skips": (1, None, 0),
        "dead-letters": (1, 5 * MINUTE, 0),
    }


@pytest.mark.parametrize(
    ("given", "asked"),
    [(None, UNLIMITED), (0, Retention(1)), (1, Retention(1)), (MINUTE, Retention(1)), (MINUTE + 1, Retention(2))],
)
def test_retention_is_never_shorter_than_declared(given: int | None, asked: Retention) -> None:
    assert retention_of(Topic("t", retention=given)) == asked


def test_what_is_no_admin_api_is_told() -> None:
    with pytest.raises(InvalidRequest, match="the admin URL is 'pulsar://b:6650', expected one such as http"):
        Admin("pulsar://b:6650")
    admin = Admin("http://127.0.0.1:1")
    assert not admin.healthy()
    with pytest.raises(Unavailable, match=r"admin API at http://127\.0\.0\.1:1 does not answer: Connection refused$"):
        admin.clusters()
    with pytest.raises(InvalidRequest, match="topic is 'clicks', expected a whole name"):
        admin.create_topic("clicks")
