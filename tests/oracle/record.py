"""The recorded topics that the oracle judges: plain values, in the order of their partitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

#: (ledger, entry, batch index), compared as a tuple.
Position = tuple[int, int, int]

#: The position up to which a row that does not exist has been read.
NOWHERE: Position = (-1, -1, -1)

#: The latest time that an event may have: 9999-12-31T23:59:59.999999Z.
LAST_TIME = 253_402_300_799_999_999


class Message(NamedTuple):
    """A message of a stream's partition; `published_ms` is the broker's publish time."""

    position: Position
    payload: bytes
    properties: Mapping[str, str]
    published_ms: int

    @property
    def published(self) -> int:
        """The last microsecond in which it may have been published."""
        return self.published_ms * 1_000 + 999

    @property
    def mark(self) -> int | None:
        """The time before which nothing follows; None if the message is not a mark."""
        text = self.properties.get("headrace-mark")
        return None if text is None or "headrace-mark-withdrawn" in self.properties else int(text)

    @property
    def withdraws(self) -> bool:
        """Whether the message withdraws marks."""
        return "headrace-mark-withdrawn" in self.properties

    @property
    def withdrawn_to(self) -> int | None:
        """The latest mark that a withdrawal keeps; None if it keeps none."""
        text = self.properties["headrace-mark-withdrawn"]
        return int(text) if text else None

    @property
    def sent_by(self) -> str:
        """The kind of program that sent a mark: cli, play, client or something else."""
        return self.properties.get("headrace-sender", "").partition(":")[0]

    @property
    def ends_history(self) -> bool:
        """Whether the message ends a history."""
        return self.properties.get("headrace-end") == "1"


#: The messages of each partition of each stream.
Streams = Mapping[str, list[list[Message]]]


@dataclass(frozen=True)
class LoggedVector:
    """A vector of a features topic.

    Attributes
    ----------
    position
        The position of its event, in partition `partition` of the model's stream.
    cut
        For each row read, and each partition of its view's stream, the position of the newest event in the row.
    values
        By feature; None if missing.
    published_ms
        When its message was published.
    """

    id: str
    time: int
    partition: int
    position: Position
    cut: tuple[Position, ...]
    values: Mapping[str, float | str | None]
    published_ms: int


@dataclass(frozen=True)
class LoggedEntry:
    """A question of a model's log, its answer, or the statement that it has none.

    Attributes
    ----------
    kind
        "question", "answer" or "unanswered".
    question
        The `seq` of its question.
    label_time
        When the answer became known, or when it became known that there is none.
    released
        Whether it did not wait for both watermarks.
    made
        Whether it was made from kept events after a change, and never asked.
    published_ms
        When its message was published.
    """

    seq: int
    kind: str
    question: int
    id: str
    time: int
    label: float | str
    label_time: int
    weight: float
    values: Mapping[str, float | str | None]
    released: bool
    made: bool = False
    published_ms: int = 0

    @property
    def key(self) -> tuple[Any, ...]:
        """The fields that identify an answer in the set of examples."""
        return (self.id, self.time, self.label, self.label_time, self.weight)

    @property
    def place(self) -> tuple[int, bool, int, str, bool]:
        """The place in the log: an answer known at t precedes the questions at t, except its own."""
        asks, known = self.kind == "question", max(self.time, self.label_time)
        return (self.time if asks else known, asks or known == self.time, self.time, self.id, not asks)
