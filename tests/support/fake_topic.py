"""A topic in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pulsar


@dataclass
class Topic:
    """A producer of a broker that accepts messages of up to `most` bytes."""

    most: int
    taken: list[bytes] = field(default_factory=list)

    def create_producer(self, *_arguments: Any, **_options: Any) -> Topic:
        return self

    def send_async(self, payload: bytes, callback: Callable[[Any, Any], None], **_options: Any) -> None:
        fits = len(payload) <= self.most
        if fits:
            self.taken.append(payload)
        callback(pulsar.Result.Ok if fits else pulsar.Result.MessageTooBig, None)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
