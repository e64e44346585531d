"""The decisions of partition owners on the events of a call, reported to the caller.

An owner counts them by call in the state of its partition, in the same step as its progress. A crash therefore counts
no event twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import redis
import structlog

from headrace.definition import StreamDefinition
from headrace.errors import InvalidEvent, LateEvent, Unreadable
from headrace.runtime.redis.connection import readable_replies
from headrace.runtime.redis.fences import fold_work, state_key
from headrace.wire.frame import Kind, Packed
from headrace.wire.position import START, Position

_log = structlog.get_logger()

#: Number of calls that a partition remembers, and of refusals that it keeps for each.
CALLS, REFUSALS = 64, 100

# Maximum number of characters in the name of a call, and in an event's index in the call.
_LONGEST, _DIGITS = 64, 18


class Refusal(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A refused event: its index among its stream's events of the call, and why it was refused."""

    index: int
    field: str
    value: str
    expected: str


class Tally(msgspec.Struct, forbid_unknown_fields=True):
    """Counts of decisions on the events of one call; the late ones are among the rejected."""

    accepted: int = 0
    repeats: int = 0
    rejected: int = 0
    late: int = 0
    refusals: list[Refusal] = []

    @property
    def total(self) -> int:
        return self.accepted + self.repeats + self.rejected

    def merged(self, other: Tally) -> Tally:
        """Return the sum of both tallies."""
        return Tally(
            self.accepted + other.accepted,
            self.repeats + other.repeats,
            self.rejected + other.rejected,
            self.late + other.late,
            [*self.refusals, *other.refusals][:REFUSALS],
        )


class Decisions(msgspec.Struct, forbid_unknown_fields=True):
    """Decisions of one partition's owners, by call.

    Attributes
    ----------
    judged
        Events up to this position have been counted: a new owner judges some of them again.
    """

    judged: bytes = START.to_bytes()
    calls: dict[str, Tally] = {}

    def note(
        self,
        calls: Sequence[str | None],
        positions: Sequence[Position],
        refused: Mapping[int, InvalidEvent | None],
    ) -> bool:
        """Count events, each with the call that sent it; return False if there was nothing new to count.

        Parameters
        ----------
        refused
            By row, the reason of a refusal; None: the id had been seen before.
        """
        last = Position.from_bytes(self.judged)
        changed = False
        for row, (call, position) in enumerate(zip(calls, positions, strict=True)):
            if call is None or position <= last:
                continue
            name, _, index = call.partition(":")
            if len(name) > _LONGEST or len(index) > _DIGITS:
                continue  # not written by ingest: any client may send it
            self._count(self._tally(name), index, refused.get(row, _ACCEPTED))
            changed = True
        if changed:
            self.judged = positions[-1].to_bytes()
        return changed

    def _tally(self, call: str) -> Tally:
        if call not in self.calls:
            self.calls[call] = Tally()
            if len(self.calls) > CALLS:
                del self.calls[next(iter(self.calls))]
        return self.calls[call]

    @staticmethod
    def _count(tally: Tally, index: str, reason: InvalidEvent | None) -> None:
        if reason is _ACCEPTED:
            tally.accepted += 1
        elif reason is None:
            tally.repeats += 1
        else:
            tally.rejected += 1
            tally.late += isinstance(reason, LateEvent)
            if len(tally.refusals) < REFUSALS and index.isascii() and index.isdecimal():
                tally.refusals.append(Refusal(int(index), reason.field, reason.value, reason.expected))


_ACCEPTED = InvalidEvent("", "", "")
_DECISIONS = Packed[Decisions](Kind.DECISIONS, Decisions)


def encode(decisions: Decisions) -> bytes:
    """Encode decisions as the state of a partition keeps them."""
    return _DECISIONS.encode(decisions)


def decode(data: bytes) -> Decisions:
    """Decode what `encode` wrote; empty bytes give empty decisions.

    Damaged bytes do, too: callers that wait for them learn that their events are not decided.
    """
    if not data:
        return Decisions()
    try:
        return _DECISIONS.decode(data, "the decisions of a partition")
    except Unreadable as error:
        _log.error("decisions_unreadable", reason=str(error))
        return Decisions()


class DecisionBoard:
    """Reads the decisions of a loop's partition owners."""

    def __init__(self, store: redis.Redis, loop: str) -> None:
        self._store = store
        self._loop = loop

    def read(self, stream: StreamDefinition, call: str) -> Tally:
        """Add up the decisions so far on a call's events of one stream.

        Raises
        ------
        Unavailable
            The store does not answer.
        """
        pipe = self._store.pipeline(transaction=False)
        for partition in range(stream.partitions):
            pipe.hget(state_key(self._loop, fold_work(stream.name, partition)), "decisions")
        tally = Tally()
        for data in readable_replies(pipe):
            tally = tally.merged(decode(data or b"").calls.get(call, Tally()))
        return tally
