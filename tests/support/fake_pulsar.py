"""A broker and its client in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pulsar


@dataclass
class Id:
    entry: int
    batch: int = -1
    size: int = 0
    ledger: int = 1

    def ledger_id(self) -> int:
        return self.ledger

    def entry_id(self) -> int:
        return self.entry

    def batch_index(self) -> int:
        return self.batch

    def serialize(self) -> bytes:
        """Serialize as the client does: ledger, entry, partition and the size of the batch."""
        numbers = {0x08: 1, 0x10: max(self.entry, 0), 0x18: 0, 0x30: self.size}
        return bytes(byte for pair in numbers.items() for byte in pair)


@dataclass
class Message:
    entry: int
    batch: int = -1
    size: int = 0
    ledger: int = 1

    def message_id(self) -> Id:
        return Id(self.entry, self.batch, self.size, self.ledger)

    def data(self) -> bytes:
        return b"%d" % self.entry

    def properties(self) -> dict[str, str]:
        return {}

    def publish_timestamp(self) -> int:
        return self.entry


def _none() -> Any:
    raise pulsar.Timeout


@dataclass
class Subscribed:
    """A consumer that delivers its batches, then nothing, although the log goes on to `last`."""

    batches: list[list[Message]]
    last: int | None
    closed: bool = False
    acknowledged: list[int] = field(default_factory=list)
    on_receive: Callable[[], None] = lambda: None

    taken: list[Message] = field(default_factory=list)

    def receive(self, timeout_millis: int) -> Message:
        self.on_receive()
        if self.batches and not self.taken:
            self.taken = self.batches.pop(0)
        return self.taken.pop(0) if self.taken else _none()

    def batch_receive(self) -> list[Message]:
        found, self.taken = self.taken, []
        return found or _none()

    def get_last_message_id(self) -> Id:
        if self.last is None:
            raise pulsar.UnknownError
        return Id(self.last)

    def acknowledge_cumulative(self, id: Id) -> None:
        if self.closed:
            raise pulsar.AlreadyClosed
        self.acknowledged.append(id.entry)

    def close(self) -> None:
        _once(self.closed)
        self.closed = True


def _once(closed: bool) -> None:
    """What the client raises where it closes something twice."""
    if closed:
        raise ValueError("list.remove(x): x not in list")


@dataclass
class Broker:
    consumers: list[Subscribed]
    subscribed: list[Subscribed] = field(default_factory=list)

    log: list[Message] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def create_producer(self, *_: Any, **__: Any) -> Producer:
        return Producer()

    def create_reader(self, *_: Any, **__: Any) -> Read:
        return Read(list(self.log), more=False)

    def subscribe(self, *_: Any, **options: Any) -> Subscribed:
        self.options = options
        if not self.consumers:
            raise pulsar.Timeout
        self.subscribed.append(self.consumers.pop(0))
        return self.subscribed[-1]


@dataclass
class Producer:
    """A producer whose messages are stored at once."""

    sent: list[bytes] = field(default_factory=list)

    def send_async(self, payload: bytes, callback: Callable[[Any, Any], None], **_: Any) -> None:
        self.sent.append(payload)
        callback(pulsar.Result.Ok, None)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Read:
    """A reader that gives its messages, then nothing, although there may be more."""

    messages: list[Message]
    more: bool
    closed: bool = False

    def read_next(self, timeout_millis: int) -> Message:
        if not self.messages:
            raise pulsar.Timeout
        return self.messages.pop(0)

    def has_message_available(self) -> bool:
        return self.more

    def close(self) -> None:
        _once(self.closed)
        self.closed = True
