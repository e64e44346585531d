"""A join's view of its own log: on a real broker."""

from __future__ import annotations

from collections.abc import Iterator

import pulsar
import pytest
from msgspec import structs

from headrace.definition import Task
from headrace.wire.envelope import Envelope
from headrace.wire.topics import Topics
from headrace_feature.pulsar.outputs import ExamplesLog
from tests.brokers import Place
from tests.unit.learner.logs import alternating, definition, entries_of, message


@pytest.fixture
def client(module_place: Place) -> Iterator[pulsar.Client]:
    client = pulsar.Client(module_place.url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
    yield client
    client.close()


def test_entries_of_another_learner_are_not_written_again(client: pulsar.Client, module_place: Place) -> None:
    rows = [{"x": float(row)} for row in range(3)]
    former = definition("m", Task.BINARY, rows[0])
    log = ExamplesLog(client, Topics("shop", module_place.namespace), former)
    entries = entries_of(former, rows, alternating([True, False, True]))
    _, payload, _ = message(former, entries, 0)
    log.send(payload, Envelope(epoch=1, definition=former.hash, examples=former.examples_hash))
    log.flush()

    def found(**changes: str) -> tuple[int, int]:
        model = structs.replace(former, **changes)
        content = ExamplesLog(client, Topics("shop", module_place.namespace), model).content()
        return len(content.written), content.sequence

    assert found() == found(learner="another") == (3, 6)
    assert found(label="another") == (0, 6)
