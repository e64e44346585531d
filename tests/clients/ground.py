"""The loop of `docs/topics.md`, whose topics also hold what readers must drop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pulsar
import pyarrow as pa

from headrace import embedded
from headrace.client import IngestClient
from headrace.wire.envelope import Envelope, read_envelope
from headrace.wire.position import Position
from headrace.wire.topics import Topics
from tests.clients.page import at_home, programs
from tests.deadline import until
from tests.processes import python_output

LOOP = """
from datetime import datetime
from river.linear_model import LogisticRegression
from river.preprocessing import StandardScaler
from headrace import Label, Mean, Model, Stream, View, col

class Departed(Stream, key="tail", time="at", id="flight", partitions=2):
    flight: str
    at: datetime
    tail: str
    delay_min: float
    gust: float | None

class Landed(Stream, key="flight", time="at", id="flight"):
    flight: str
    at: datetime
    late: bool

late = Label(Landed, of=Departed, value=col("late"), within="48h")
habit = View(Departed, by="tail", windows=["3h"], aggregates={"mean_delay": Mean("delay_min")})

Model(
    "late_arrival",
    on=Departed,
    label=late,
    features=[habit, Departed.delay_min],
    learner=lambda: StandardScaler() | LogisticRegression(),
    publish_every=10,
)
"""

#: Examples that the loop has learned before the page's programs write their events.
LEARNED = 30

_NEWYEAR, _MINUTE = 1_356_998_400_000_000, 60_000_000

#: The id of rows that no reader may see.
WRONG = "of-a-superseded-owner"


@contextmanager
def learned_loop(folder: Path, options: dict[str, Any]) -> Iterator[embedded.RunningLoop]:
    """Run the loop, with a version that has learned `LEARNED` examples."""
    file = folder / "flights.py"
    file.write_text(LOOP)
    with embedded.run(file, data=folder / "data", **options) as running:
        with IngestClient(running.addresses["ingest"]) as client:
            flights = [f"F{number}" for number in range(LEARNED)]
            asked = [
                {"flight": flight, "at": _NEWYEAR + n * _MINUTE, "tail": f"N{n % 5}", "delay_min": n % 40, "gust": None}
                for n, flight in enumerate(flights)
            ]
            told = [
                {"flight": flight, "at": _NEWYEAR + (300 + n) * _MINUTE, "late": n % 3 == 0}
                for n, flight in enumerate(flights)
            ]
            for stream, events in (("departed", asked), ("landed", told)):
                assert client.publish_stream(stream, events).rejected == 0
                client.mark(stream, _NEWYEAR + 400 * _MINUTE)
        until(lambda: _learned(running), lambda count: count == LEARNED, 60)
        yield running


def read(running: embedded.RunningLoop) -> str:
    """Return the output of the page's reader in Python."""
    return python_output(at_home(programs("python").read, running))


def disturb(running: embedded.RunningLoop) -> None:
    """Append to both topics of the model what readers must drop: a repeat, and rows of a superseded owner."""
    topics = Topics(running.definition.name, running.namespace)
    client = pulsar.Client(running.pulsar_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))
    try:
        for topic in (topics.predictions("late_arrival"), topics.examples("late_arrival")):
            disturbed = [_disturb(client, partition) for partition in client.get_topic_partitions(topic)]
            assert any(disturbed)
    finally:
        client.close()


def _disturb(client: pulsar.Client, topic: str) -> bool:
    """Append to a partition; return False if it holds no rows yet."""
    full = [message for message in _messages(client, topic) if message.data()]
    if not full:
        return False
    payload = full[-1].data()
    envelope = read_envelope(full[-1].properties(), payload, topic)
    assert envelope.epoch is not None
    superseded = _superseded(payload)
    older = Envelope(epoch=envelope.epoch - 1, partition=envelope.partition, definition=envelope.definition)
    producer = client.create_producer(topic)
    producer.send(payload, properties=full[-1].properties())
    producer.send(superseded, properties=older.properties(superseded))
    return True


def _superseded(payload: bytes) -> bytes:
    """Return a batch with other ids and later places, which only their epoch gives away."""
    batch = pa.ipc.open_stream(payload).read_next_batch()
    size = batch.num_rows
    later = {"id": pa.array([WRONG] * size), "seq": pa.array(range(10**6, 10**6 + size))}
    later["position"] = pa.array([Position(2**40, row, -1).to_bytes() for row in range(size)], pa.binary(20))
    columns = [later.get(name, column) for name, column in zip(batch.schema.names, batch.columns, strict=True)]
    changed = pa.RecordBatch.from_arrays(columns, schema=batch.schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, changed.schema) as writer:
        writer.write_batch(changed)
    return bytes(sink.getvalue())


def _messages(client: pulsar.Client, topic: str) -> Iterator[pulsar.Message]:
    reader = client.create_reader(topic, pulsar.MessageId.earliest)
    while reader.has_message_available():
        yield reader.read_next(30_000)
    reader.close()


def _learned(running: embedded.RunningLoop) -> int:
    versions = [status.versions for status in running.status() if status.service == "scorer"]
    return max((version.get("late_arrival", 0) for version in versions), default=0)
