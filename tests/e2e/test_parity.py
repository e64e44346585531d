"""Compare the whole system with a bare River loop: same rows, same accuracy, same model, to the last bit.

Events go in over gRPC, through Pulsar, are assembled, joined with labels that come later, and learned.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pulsar
import pytest
from pulsar import schema

from headrace import embedded
from headrace.wire.topics import Topics
from tests.brokers import Place, Runs
from tests.e2e.datasets import load, loop_file
from tests.e2e.learning import EPOCH, SECOND, bare, learned, send, slices, stored_state


@pytest.mark.parametrize("name", ["Phishing", "Bananas", "ImageSegments", "Elec2"])
def test_the_system_learns_what_a_bare_loop_learns(name: str, tmp_path: Path) -> None:
    check_parity(name, tmp_path, partitions=1)


@pytest.mark.official
def test_partitions_and_workers_change_no_bit(official_place: Place, tmp_path: Path) -> None:
    workers = {"feature": 2, "learner": 2, "scorer": 2}
    check_parity("Bananas", tmp_path, partitions=4, workers=workers, **Runs(official_place).options)


def check_parity(name: str, tmp_path: Path, partitions: int, **options: Any) -> None:
    data = load(name)
    file = tmp_path / "loop.py"
    file.write_text(loop_file(data, partitions))
    with embedded.run(file, data=tmp_path / "data", **options) as running:
        assert send(running.addresses["ingest"], list(slices(data)), final=True) == 0
        accuracies = learned(running, data)
    for model in ("linear", "tree"):
        accuracy, state = bare(model, data)
        assert accuracies[model] == accuracy
        assert stored_state(file, tmp_path / "data", model) == state


class Answer(schema.Record):  # type: ignore[misc]
    """A schema as a producer elsewhere declares it: the stream's fields, and nothing of headrace."""

    id = schema.String(required=True)
    at = schema.Long(required=True)
    answer = schema.Boolean(required=True)


def test_events_of_a_bare_pulsar_producer_are_learned_from(tmp_path: Path) -> None:
    data = load("Phishing")
    row = type(
        "Row",
        (schema.Record,),
        {
            "id": schema.String(required=True),
            "at": schema.Long(required=True),
            **{name: schema.Double(required=True) for name in data.features},
        },
    )
    file = tmp_path / "loop.py"
    # No message ends the history: a stream that is silent for some seconds counts as idle.
    file.write_text(loop_file(data).replace('idle="60s"', 'idle="3s"'))
    with embedded.run(file, data=tmp_path / "data") as running:
        topics = Topics("phishing")
        client = pulsar.Client(running.pulsar_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))
        rows = client.create_producer(topics.stream("row"), schema=schema.JsonSchema(row), block_if_queue_full=True)
        answers = client.create_producer(
            topics.stream("answer"), schema=schema.JsonSchema(Answer), block_if_queue_full=True
        )
        for index, (x, y) in enumerate(data.rows):
            at = EPOCH + index * SECOND
            rows.send_async(row(id=f"{index:06d}", at=at, **x), None)
            answers.send_async(Answer(id=f"{index:06d}", at=at + 9_500_000, answer=y), None)
        rows.flush()
        answers.flush()
        accuracies = learned(running, data)
        client.close()
    for model in ("linear", "tree"):
        accuracy, state = bare(model, data)
        assert accuracies[model] == accuracy
        assert stored_state(file, tmp_path / "data", model) == state
