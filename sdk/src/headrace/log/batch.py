"""Messages of one partition, as they are read."""

from __future__ import annotations

from dataclasses import dataclass, field

import pulsar

from headrace.log.position import Position

# Seconds of silence before a log is asked whether it goes on; twice as long after each time that it did not help.
PATIENCE = 2.0
MOST_PATIENCE = 60.0


@dataclass
class Batch:
    """Messages of one partition, in order."""

    positions: list[Position] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    properties: list[dict[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.positions)

    def add(self, message: pulsar.Message, position: Position) -> None:
        self.positions.append(position)
        self.payloads.append(message.data())
        self.properties.append(message.properties())

    def before(self, index: int) -> Batch:
        """Its first messages."""
        return Batch(self.positions[:index], self.payloads[:index], self.properties[:index])

    def followed_by(self, other: Batch) -> Batch:
        """Its messages and those of another."""
        return Batch(
            self.positions + other.positions, self.payloads + other.payloads, self.properties + other.properties
        )

    def after(self, position: Position) -> Batch:
        """What stands behind a position, in order: brokers deliver again what is not acknowledged, amid a batch too."""
        kept: list[int] = []
        for index, own in enumerate(self.positions):
            if own > position:
                position = own
                kept.append(index)
        if len(kept) == len(self):
            return self
        return Batch(
            [self.positions[index] for index in kept],
            [self.payloads[index] for index in kept],
            [self.properties[index] for index in kept],
        )
