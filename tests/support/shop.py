"""A loop of a shop, with the feature service running on real servers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pulsar

from headrace import embedded
from headrace.embedded import Server
from headrace.errors import Unavailable
from headrace.runtime.pulsar.log_reader import read_whole
from headrace.wire.deduplication import Accepted
from headrace.wire.tables import decode_vectors
from headrace.wire.topics import END, Topics
from tests.deadline import until

START = 1_700_000_000_000_000


SECOND = 1_000_000


LOOP = """
from datetime import datetime
from river.linear_model import LogisticRegression
from headrace import Count, Label, Loop, Model, Stream, View

Loop("shop", idle="3s")

class Asked(Stream, key="shop", time="at", id="id"):
    id: str
    at: datetime
    shop: str

class Sold(Stream, key="shop", time="at", id="id"):
    id: str
    at: datetime
    shop: str
    late: bool

sales = View(Sold, by="shop", windows=["1h"], aggregates={"count": Count()})
Model(
    "m", on=Asked, label=Label(Sold, of=Asked, value=Sold.late, within="1h", name="late"), features=[sales],
    learner=lambda: LogisticRegression(),
)
"""


class Shop:
    """A running loop, accessed through the log alone."""

    def __init__(self, running: embedded.RunningLoop, broker: Server) -> None:
        self.running = running
        self.broker = broker
        self.topics = Topics(running.definition.name, running.namespace)
        self.client = pulsar.Client(running.pulsar_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, "/dev/null"))

    def send(self, stream: str, at: Sequence[int]) -> None:
        producer = self.client.create_producer(self.topics.stream(stream), batching_enabled=False)
        for second in at:
            event = {"id": f"{second}", "at": START + second * SECOND, "shop": "s", "late": True}
            if stream == "asked":
                del event["late"]
            producer.send(msgspec.json.encode(event), partition_key="s")
        producer.close()

    def end(self, *streams: str) -> None:
        for stream in streams:
            producer = self.client.create_producer(self.topics.stream(stream))
            producer.send(b"", properties={END: "1"})
            producer.close()

    def vectors(self, size: int) -> dict[str, float]:
        """Return the count of sales in each vector, once there are enough vectors."""
        model = self.running.definition.model("m")

        def read() -> dict[str, float]:
            accepted, found = Accepted(), {}
            # One read of what is there at once would end where the broker that came back began another ledger.
            for batch in read_whole(self.client, self.topics.features("m")):
                for payload, properties in zip(batch.payloads, batch.properties, strict=True):
                    epoch = int(properties["epoch"])
                    if accepted.mark(epoch) and payload:
                        vectors = decode_vectors(model, payload)
                        for row in accepted.take(epoch, vectors.positions):
                            found[vectors.ids[row]] = float(vectors.numbers[row, 0])
            return found

        # After an outage, the client's next attempt may be as far away as the outage was long.
        return until(read, lambda found: len(found) >= size, seconds=150)

    def events(self, size: int) -> None:
        """Wait until enough events are folded."""

        def folded() -> int:
            try:
                return sum(
                    status.counters.get("events", 0) for status in self.running.status() if status.service == "feature"
                )
            except Unavailable:
                return 0

        until(folded, lambda found: found >= size, seconds=60)
