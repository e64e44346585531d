"""A topic in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pulsar


@dataclass
class Topic:
    """A broker with one topic that accepts messages of up to `most` bytes, or none while it is `away`."""

    most: int
    taken: list[bytes] = field(default_factory=list)
    away: bool = False
    opened: int = 0
    closed: int = 0
    flushes: int = 0

    def create_producer(self, *_arguments: Any, **_options: Any) -> Topic:
        if self.away:
            raise pulsar.ConnectError
        self.opened += 1
        return self

    def send_async(self, payload: bytes, callback: Callable[[Any, Any], None], **_options: Any) -> None:
        if self.away:
            callback(pulsar.Result.Timeout, None)
            return
        fits = len(payload) <= self.most
        if fits:
            self.taken.append(payload)
        callback(pulsar.Result.Ok if fits else pulsar.Result.MessageTooBig, None)

    def flush(self) -> None:
        self.flushes += 1

    def close(self) -> None:
        self.closed += 1
