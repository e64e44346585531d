"""Marks: a producer's statement that nothing before a time follows, and which marks a partition believes.

The rules depend on the message and the stream only, so every reader of a partition believes the same marks.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from headrace.definition import StreamDefinition
from headrace.errors import InvalidEvent
from headrace.wording import format_time, shown

#: Property of a mark: no event of its partition before this time follows (µs since the epoch).
MARK = "headrace-mark"

#: Property of a mark: its sender, as ``cli:alice@host``. The part before the colon is a `Sender`.
SENDER = "headrace-sender"

#: Property of a mark: it may expire any number of questions.
CONFIRMED = "headrace-mark-confirmed"

#: Property of a message that withdraws marks: all that are later than this time (µs), or all if it is empty.
WITHDRAWN = "headrace-mark-withdrawn"

#: The last time that an event can have: 9999-12-31T23:59:59.999999Z.
LAST_TIME = 253_402_300_799_999_999

#: A message that names no sender comes from some Pulsar client.
_LONGEST_SENDER = 120
_UNNAMED = "a Pulsar client without a name"


class Marking(StrEnum):
    """The senders from which a stream accepts marks."""

    NOBODY = "nobody"
    CLI = "cli"
    ANYONE = "anyone"


class Mark(NamedTuple):
    """A mark, as its message states it.

    Attributes
    ----------
    time
        No event before it follows (µs since the epoch); for a withdrawal, the latest mark that stays, None for none.
    sender
        Who sent it, in printable form.
    confirmed
        Whether it may expire any number of questions.
    withdraws
        Whether it withdraws later marks.
    """

    time: int | None
    sender: str = _UNNAMED
    confirmed: bool = False
    withdraws: bool = False

    @property
    def by_cli(self) -> bool:
        """Whether the sender claims to be a command of headrace."""
        return self.sender.partition(":")[0] in ("cli", "play")


def mark_of(properties: Mapping[str, str]) -> Mark | None:
    """Return the mark that a message carries; None if it carries none, or one that is not a number."""
    sender = shown(properties.get(SENDER, ""), _LONGEST_SENDER) or _UNNAMED
    try:
        if WITHDRAWN in properties:
            until = properties[WITHDRAWN]
            return Mark(_time(until) if until else None, sender, withdraws=True)
        if MARK in properties:
            return Mark(_time(properties[MARK]), sender, CONFIRMED in properties)
    except ValueError:
        return None
    return None


def _time(text: str) -> int:
    """Return a number, or the nearest one of 64 bits: all beyond mean the same, before or after every time."""
    return min(max(int(text), -(2**63)), 2**63 - 1)


def properties_of(mark: Mark) -> dict[str, str]:
    """Return the properties of the message that carries a mark."""
    sender = {SENDER: mark.sender}
    if mark.withdraws:
        return {WITHDRAWN: "" if mark.time is None else str(mark.time), **sender}
    confirmed = {CONFIRMED: "1"} if mark.confirmed else {}
    return {MARK: str(mark.time), **sender, **confirmed}


def refusal_of(stream: StreamDefinition, mark: Mark, published_at: int) -> InvalidEvent | None:
    """Return why a stream rejects a mark that was published at a time (µs); None if it accepts it."""
    if not _may_send(stream, mark):
        whose = "no mark at all" if stream.marks == Marking.NOBODY else "a mark by headrace's own commands"
        return InvalidEvent(MARK, f"by {mark.sender}", f'{whose}, as the stream declares: marks="{stream.marks}"')
    if mark.time is None:
        return None
    ahead, latest = stream.ahead, LAST_TIME
    if ahead is not None:
        latest = min(published_at + ahead, LAST_TIME)
    if mark.time > latest:
        basis = "the last time that an event can have" if ahead is None else "when it was published, and `ahead`"
        expected = f"{format_time(latest)} or earlier ({basis}), in microseconds since the epoch"
        return InvalidEvent(MARK, f"{_time_text(mark.time)} by {mark.sender}", expected)
    return None


def _may_send(stream: StreamDefinition, mark: Mark) -> bool:
    if stream.marks == Marking.ANYONE:
        return True
    # An operator may always withdraw marks that were sent before the stream restricted them.
    return mark.by_cli and (mark.withdraws or stream.marks == Marking.CLI)


def _time_text(time: int) -> str:
    return format_time(time) if abs(time) <= LAST_TIME else f"{time:.4g}"
