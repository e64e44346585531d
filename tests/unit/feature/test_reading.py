"""When the silence of a source is reported, and where its log ends."""

from __future__ import annotations

import threading
from typing import cast

import pytest

from headrace.runtime.pulsar.batch import Batch
from headrace.runtime.pulsar.consumer import PartitionConsumer
from headrace.wire.position import Position
from headrace_feature.lane import Delivery, Lane, LaneWorker
from headrace_feature.pulsar.partition_reader import PartitionReader, Silence
from headrace_feature.takeover import Takeover


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def reports(silence: Silence, clock: Clock, seconds: int) -> list[float]:
    """Return the times at which a report was due, checked each second."""
    found = []
    for _ in range(seconds):
        clock.now += 1.0
        if silence.due():
            silence.reported()
            found.append(clock.now)
    return found


def test_a_silence_is_reported_ever_less_often() -> None:
    clock = Clock()
    assert reports(Silence(4.5, clock), clock, 80) == [5, 10, 20, 34, 53, 72]


def test_a_silence_begins_again_once_the_source_speaks() -> None:
    clock = Clock()
    silence = Silence(4.5, clock)
    reports(silence, clock, 50)
    silence.end()
    assert reports(silence, clock, 12) == [55, 60]


def test_a_silence_that_could_not_be_reported_is_due_again() -> None:
    clock = Clock()
    silence = Silence(4.5, clock)
    due = []
    for clock.now in range(1, 21):
        if silence.due():
            due.append(clock.now)
    assert due == [5, 10, 15, 20]


class SilentConsumer:
    """A consumer that receives nothing; at first the broker does not say where the log ends."""

    is_abandoned = False

    def __init__(self) -> None:
        self._answers = iter([None, None])

    def receive(self, _wait_ms: int) -> Batch:
        return Batch()

    def end(self) -> Position | None:
        return next(self._answers, Position(3, 7, -1))

    def close(self) -> None:
        pass


class SilentSource:
    """A source that nobody may take over."""

    name, elected = "s-0", False

    def ready(self) -> bool:
        return True

    def open(self) -> PartitionConsumer:
        return cast(PartitionConsumer, SilentConsumer())

    def take_over(self) -> Takeover:
        raise AssertionError("a silent source must not be taken over")

    def owns(self, epoch: int) -> bool:
        raise AssertionError(f"nobody owns it in epoch {epoch}")

    def accept(self, epoch: int, batch: Batch) -> None:
        raise AssertionError(f"it delivers nothing in epoch {epoch}: {batch}")

    def note_silence(self, end: Position) -> None:
        raise AssertionError(f"the lane notes silence, not the reader: {end}")

    def note_end(self, end: Position) -> None:
        raise AssertionError(f"the lane notes the end, not the reader: {end}")

    def is_full(self) -> bool:
        return False


def delivered(source: SilentSource, idle: float) -> list[Delivery]:
    """Read a source, and return the first two deliveries to its lane."""
    deliveries: list[Delivery] = []
    stopping = threading.Event()

    def put(delivery: Delivery) -> None:
        deliveries.append(delivery)
        if len(deliveries) == 2:
            stopping.set()

    lane = Lane("fold", [], cast(LaneWorker, None))
    reader = PartitionReader(
        lane, source, idle=idle, stopping=stopping, put=put, fail=lambda error: pytest.fail(str(error))
    )
    reader.run()
    lane.close()
    return deliveries


def test_a_source_that_brings_nothing_is_looked_at_at_once_and_then_after_its_idle_time() -> None:
    assert [(delivery.end, delivery.silent) for delivery in delivered(SilentSource(), idle=0.01)] == [
        (Position(3, 7, -1), False),
        (Position(3, 7, -1), True),
    ]


class ReadConsumer(SilentConsumer):
    """A consumer that is at first silent, and is then given what its former owner has read, and no more."""

    def __init__(self) -> None:
        super().__init__()
        self._batches = iter([Batch()] * 3 + [Batch([Position(3, 7, -1)], [b"{}"], [{}], [0])])

    def receive(self, _wait_ms: int) -> Batch:
        return next(self._batches, Batch())

    def start_after(self, position: Position, delivered: Batch) -> Batch:
        assert delivered.positions == [position]
        return Batch()


class ReadSource(SilentSource):
    """A source of which everything had been read at its takeover."""

    def open(self) -> PartitionConsumer:
        return cast(PartitionConsumer, ReadConsumer())

    def take_over(self) -> Takeover:
        return Takeover(5, Position(3, 7, -1))

    def owns(self, epoch: int) -> bool:
        return epoch == 5


def test_a_source_is_looked_at_again_after_its_takeover() -> None:
    end = Position(3, 7, -1)
    assert delivered(ReadSource(), idle=60.0) == [
        Delivery(0, None, end, silent=False),
        Delivery(5, None, end, silent=False),
    ]
