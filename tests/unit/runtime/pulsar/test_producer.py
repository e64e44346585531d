"""Producers of a few messages: closed in any case, and never instead of the error that came first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pulsar
import pytest

from headrace.errors import Unavailable
from headrace.runtime.pulsar.dead_letters import DeadLetterLog, Outcome
from headrace.runtime.pulsar.producer import temporary_producer, wake
from headrace.runtime.pulsar.skips import Skip, write_skip
from headrace.wire.position import Position
from headrace.wire.topics import Topics


@dataclass
class Broker:
    """A broker with one producer, whose calls named in `failing` fail."""

    failing: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)

    def create_producer(self, *_: Any, **__: Any) -> Broker:
        return self

    def send_async(self, _payload: bytes, callback: Callable[[Any, Any], None], **_: Any) -> None:
        self._call("send")
        callback(pulsar.Result.Ok, None)

    def flush(self) -> None:
        self._call("flush")

    def close(self) -> None:
        self._call("close")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise pulsar.Timeout


WRITES: dict[str, Callable[[Any], None]] = {
    "wake": lambda client: wake(client, "topic"),
    "skip": lambda client: write_skip(client, "topic", Skip(model="m", question=1, id="a")),
    "mark": lambda client: DeadLetterLog(client, Topics("loop")).mark({Position(1, 2, -1): Outcome.TAKEN}),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_a_few_messages_are_flushed_and_the_producer_is_closed(write: Callable[[Any], None]) -> None:
    broker = Broker()
    write(broker)
    assert broker.calls == ["send", "flush", "close"]


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
@pytest.mark.parametrize("failing", [{"send"}, {"flush"}, {"send", "close"}])
def test_a_producer_is_closed_after_a_failure(write: Callable[[Any], None], failing: set[str]) -> None:
    broker = Broker(failing)
    with pytest.raises(Unavailable):
        write(broker)
    assert broker.calls[-1] == "close"


def test_a_failed_close_after_the_flush_is_no_error() -> None:
    broker: Any = Broker({"close"})
    with temporary_producer(broker, "topic") as producer:
        producer.send(b"")
    assert broker.calls == ["send", "flush", "close"]
