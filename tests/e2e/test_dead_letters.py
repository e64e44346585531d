"""Invalid events written past ingest: they are refused with reason and position, and nothing beside them is lost."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pulsar

from headrace import embedded
from headrace.runtime.pulsar.log_reader import LogReader
from headrace.runtime.pulsar.producer import Producer
from headrace.v1.dead_letter_pb2 import DeadLetter
from headrace.wire.position import Position
from headrace.wire.topics import END, Topics
from headrace.wording import format_time
from tests.deadline import until
from tests.e2e.datasets import LabelledRows, load, loop_file
from tests.e2e.learning import EPOCH, SECOND, bare, learned, slices, stored_state

ROWS = 100


def test_invalid_events_are_refused_and_the_valid_ones_beside_them_learned(tmp_path: Path) -> None:
    dataset = load("Phishing")
    data = LabelledRows(dataset.name, dataset.rows[:ROWS])
    file = tmp_path / "loop.py"
    file.write_text(loop_file(data))
    x = data.rows[0][0]
    late = {"id": "late", "at": EPOCH - SECOND, **x}
    bad = {
        b"not json": ("", "not decodable"),
        orjson.dumps({"id": "missing", "at": EPOCH + 50 * SECOND}): ("f0", "missing"),
        orjson.dumps({"id": "text", "at": EPOCH, **x, "f1": "high"}): ("f1", '"high"'),
        b'{"id": "nan", "at": 1, "f0": NaN}': ("f0", "NaN"),
        orjson.dumps({**late, "id": "x" * 70_000}): ("", "bytes long"),
        orjson.dumps(late): ("at", format_time(EPOCH - SECOND)),
    }
    ((rows, answers),) = slices(data, size=ROWS + 10)
    with embedded.run(file, data=tmp_path / "data") as running:
        client = pulsar.Client(running.pulsar_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))
        topics = Topics("phishing")
        for stream, events in (("row", [*rows[:60], *bad, *rows[60:]]), ("answer", answers)):
            producer = Producer(client, topics.stream(stream), batching=True)
            for event in events:
                producer.send(event)
            producer.send(b"", properties={END: "1"})
            producer.flush()
        accuracies = learned(running, data)
        reader = LogReader(client, topics.dead_letters)
        found: list[DeadLetter] = []
        until(lambda: found.extend(map(DeadLetter.FromString, reader.receive().payloads)) or len(found) >= len(bad))
        client.close()
    letters = {letter.event: letter for letter in found}
    assert letters.keys() == bad.keys()
    for event, (field, value) in bad.items():
        letter = letters[event]
        assert letter.field == field
        assert value in letter.value
        assert letter.expected
        assert (letter.stream, letter.topic, letter.service) == ("row", topics.stream("row"), "feature")
    positions = [Position.from_bytes(letter.position) for letter in found]
    assert positions == sorted(positions)
    for model in ("linear", "tree"):
        accuracy, state = bare(model, data)
        assert accuracies[model] == accuracy
        assert stored_state(file, tmp_path / "data", model) == state
