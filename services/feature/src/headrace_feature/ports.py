"""Protocols of what the fold, the join and their lanes need."""

from __future__ import annotations

from typing import Protocol

from headrace.definition import StreamDefinition
from headrace.errors import InvalidEvent
from headrace.history.remake import ClosedQuestion, OpenQuestion
from headrace.wire.position import Position
from headrace.wire.tables import LogEntries


class LaneWorker(Protocol):
    """The work of a lane, done in one thread."""

    @property
    def pulse(self) -> float:
        """Seconds after which to look for work that nothing announces."""
        ...

    def step(self) -> bool:
        """Do what can be done now; return False if there was nothing."""
        ...

    def give_up(self) -> None:
        """Give up everything that it owns."""
        ...


class Remaker(Protocol):
    """Makes the examples of a changed model in the background: see `headrace_feature.example_remaker`."""

    @property
    def progress(self) -> tuple[int, int]:
        """How many vectors have been made, and how many there will be."""
        ...

    def take(self) -> LogEntries | None:
        """Return further entries, numbered as in a log that begins at 0; None while there are none."""
        ...

    def open(self) -> list[OpenQuestion] | None:
        """Return the undecided questions, once all entries have been taken."""
        ...

    def closed(self) -> list[ClosedQuestion]:
        """Return the decided questions that a label may still arrive for."""
        ...

    def stop(self) -> None:
        """Stop making examples."""
        ...


class DeadLetters(Protocol):
    """Writes dead letters: see `headrace.runtime.pulsar.dead_letter_writer.DeadLetterWriter`."""

    def refuse(
        self, stream: StreamDefinition, partition: int, reason: InvalidEvent, payload: bytes, *, position: Position
    ) -> None:
        """Write the dead letter of an event, asynchronously."""
        ...

    def flush(self) -> None:
        """Wait until all dead letters are durable."""
        ...
