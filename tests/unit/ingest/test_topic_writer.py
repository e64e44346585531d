"""The path of one topic to the broker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from headrace.engine.marks import Mark
from headrace.errors import Overloaded, Unavailable
from headrace.runtime.pulsar.producer import Producer
from headrace_ingest.in_flight import InFlightLimit
from headrace_ingest.ports import Note
from headrace_ingest.pulsar.topic_writer import TopicWriter
from tests.deadline import scaled


class FakeProducer:
    """A producer of a broker that accepts nothing before `go`, and breaks on request."""

    topic = "topic"

    def __init__(self) -> None:
        self.taken: list[object] = []
        self.properties: list[dict[str, str]] = []
        self.broken = False
        self.go = threading.Event()
        self.reached = threading.Event()

    def send_all(self, payloads: Sequence[bytes], keys: Sequence[str], properties: Sequence[dict[str, str]]) -> None:
        self.reached.set()
        assert self.go.wait(scaled(30))
        if self.broken:
            raise Unavailable("broker: gone")
        self.taken += payloads
        self.properties += properties

    def send(self, payload: bytes, properties: dict[str, str]) -> None:
        self.taken.append((payload, properties))

    def flush(self) -> None: ...

    def close(self) -> None: ...


@asynccontextmanager
async def writer_to(producer: FakeProducer, size: int = 2**20, patience_s: float = 30) -> AsyncIterator[TopicWriter]:
    limit = InFlightLimit("stream a", size, patience_s)
    writer = TopicWriter(cast("Producer", producer), 2, limit, asyncio.get_running_loop())
    try:
        yield writer
    finally:
        producer.go.set()
        await writer.close()


async def test_order_is_kept_and_markers_go_to_every_partition() -> None:
    producer = FakeProducer()
    producer.go.set()
    async with writer_to(producer) as writer:
        under_way = [
            await writer.write([b"a", b"b"], ["k", "k"]),
            await writer.note(Note(Mark(5, "me"))),
            await writer.write([b"c"], ["k"]),
        ]
        await asyncio.gather(*under_way)
    properties = {"headrace-mark": "5", "headrace-sender": "me"}
    marks = [(b"", {**properties, "headrace-partition": partition}) for partition in "01"]
    assert producer.taken == [b"a", b"b", *marks, b"c"]


async def test_an_end_goes_to_every_partition_and_calls_to_their_events() -> None:
    producer = FakeProducer()
    producer.go.set()
    async with writer_to(producer) as writer:
        under_way = [
            await writer.write([b"a", b"b"], ["k", "k"], ["call:0", "call:1"]),
            await writer.write([b"c"], ["k"]),
            await writer.note(Note(None)),
        ]
        await asyncio.gather(*under_way)
    ends = [(b"", {"headrace-end": "1", "headrace-partition": partition}) for partition in "01"]
    assert producer.taken == [b"a", b"b", b"c", *ends]
    assert producer.properties == [{"headrace-call": "call:0"}, {"headrace-call": "call:1"}]


async def test_a_slow_broker_holds_no_event_loop_and_pushes_back() -> None:
    producer = FakeProducer()
    async with writer_to(producer, size=1_000, patience_s=0) as writer:
        first = await writer.write([b"x" * 700], ["k"])
        with pytest.raises(Overloaded):
            await writer.write([b"y" * 700], ["k"])
        producer.go.set()
        await first
        await (await writer.write([b"z"], ["k"]))
    assert producer.taken == [b"x" * 700, b"z"]


async def test_what_was_put_behind_a_failure_fails_unsent() -> None:
    producer = FakeProducer()
    producer.broken = True
    async with writer_to(producer) as writer:
        first = await writer.write([b"a"], ["k"])
        assert await asyncio.to_thread(producer.reached.wait, 30)
        behind: list[Any] = [await writer.write([b"b"], ["k"]), await writer.note(Note(Mark(5, "me")))]
        producer.go.set()
        for failed in (first, *behind):
            with pytest.raises(Unavailable, match="gone"):
                await failed
        producer.broken = False
        await (await writer.write([b"c"], ["k"]))
    assert producer.taken == [b"c"]


async def test_closing_sends_what_is_under_way() -> None:
    producer = FakeProducer()
    producer.go.set()
    async with writer_to(producer) as writer:
        for index in range(100):
            await writer.write([str(index).encode()], ["k"])
    assert producer.taken == [str(index).encode() for index in range(100)]
