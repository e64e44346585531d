"""Messages of one partition, as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pulsar

from headrace.wire.position import Position

# Seconds of silence before a log is asked for more messages; doubled after each attempt that did not help.
PATIENCE = 2.0
MOST_PATIENCE = 60.0


@dataclass
class Batch:
    """Messages of one partition, in order.

    Attributes
    ----------
    published
        Publish time of each message by its producer's clock, in µs since the epoch: the end of that millisecond.
    """

    positions: list[Position] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    properties: list[dict[str, str]] = field(default_factory=list)
    published: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.positions)

    def add(self, message: pulsar.Message, position: Position) -> None:
        self.positions.append(position)
        self.payloads.append(message.data())
        self.properties.append(message.properties())
        self.published.append(message.publish_timestamp() * 1_000 + 999)

    def before(self, index: int) -> Batch:
        """Return the first `index` messages."""
        return self.only(range(min(index, len(self))))

    def followed_by(self, other: Batch) -> Batch:
        """Return these messages, followed by those of another batch."""
        return Batch(
            self.positions + other.positions,
            self.payloads + other.payloads,
            self.properties + other.properties,
            self.published + other.published,
        )

    def after(self, position: Position) -> Batch:
        """Return the messages after a position, in order, each one once.

        Brokers redeliver unacknowledged messages, even within a batch and after later messages.
        """
        if all(before < after for before, after in pairwise([position, *self.positions])):
            return self
        places = {other: index for index, other in reversed(list(enumerate(self.positions))) if other > position}
        return self.only([places[other] for other in sorted(places)])

    def only(self, places: Sequence[int]) -> Batch:
        """Return the messages at these places."""
        return Batch(
            [self.positions[index] for index in places],
            [self.payloads[index] for index in places],
            [self.properties[index] for index in places],
            [self.published[index] for index in places],
        )
