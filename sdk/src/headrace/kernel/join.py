"""Joining vectors with their late labels into examples, in event time.

Vectors and labels come in any order, days apart. A pair becomes an example once both halves are there
and the frontier of both sources has passed them: then no pair that belongs before it can still come, so
the order (the later of the two times, event id) of the examples does not depend on who came first.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from headrace.frontier import ENDED, RESTING, UNKNOWN


class Vector(NamedTuple):
    """A vector that waits: its event time and the vector itself, opaque to the join."""

    time: int
    payload: bytes


class Outcome(NamedTuple):
    """A label that waits: when it came to be known, and what it says."""

    time: int
    value: float | str


class Pair(NamedTuple):
    """What is known of one event id; `done` marks one whose example is out, remembered `until` then."""

    vector: Vector | None
    outcome: Outcome | None
    done: bool = False
    until: int = 0


class Example(NamedTuple):
    """A vector joined with its label."""

    id: str
    vector: Vector
    outcome: Outcome


@dataclass
class Joined:
    """What one step decided.

    Attributes
    ----------
    changed
        The pairs to store, by event id; None: to forget.
    expired
        Vectors whose label did not come in time.
    unmatched
        Labels that came too late, or whose vector did not come in time.
    """

    examples: list[Example] = field(default_factory=list)
    changed: dict[str, Pair | None] = field(default_factory=dict)
    expired: int = 0
    unmatched: int = 0


class Join:
    """The waiting pairs of one model.

    Parameters
    ----------
    wait
        A label counts if its time is at most the event's plus this (µs). One that precedes its event
        waits as long for it.
    pairs
        The pairs that waited when the last owner ended.
    """

    def __init__(self, wait: int, pairs: Mapping[str, Pair] | None = None) -> None:
        self._wait = wait
        self._pairs: dict[str, Pair] = {}
        self._ready: list[tuple[int, str]] = []
        self._deadlines: list[tuple[int, str]] = []
        self._changed: dict[str, Pair | None] = {}
        self._newest = UNKNOWN
        for own, pair in (pairs or {}).items():
            self._put(own, pair)
        self._changed.clear()

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def waiting(self) -> int:
        """Vectors that wait for their label."""
        return sum(1 for pair in self._pairs.values() if pair.vector and not pair.outcome)

    def vector(self, own: str, vector: Vector) -> bool:
        """Take a vector; False where the id has one already (the first wins)."""
        pair = self._pairs.get(own, Pair(None, None))
        if pair.vector is not None or pair.done:
            return False
        self._put(own, pair._replace(vector=vector))
        return True

    def outcome(self, own: str, outcome: Outcome) -> bool:
        """Take a label; False where the id has one already (the first wins)."""
        pair = self._pairs.get(own, Pair(None, None))
        if pair.outcome is not None or pair.done:
            return False
        self._put(own, pair._replace(outcome=outcome))
        return True

    def advance(self, vectors: int, labels: int, limit: int) -> Joined:
        """Decide what can be decided.

        Parameters
        ----------
        vectors, labels
            The frontiers of the sources: nothing before them is to come.
        limit
            At most so many examples; call again for more.
        """
        frontier = min(vectors, labels)
        # Time passes with events only: while all rest, nothing expires, however long they do.
        self._newest = max([self._newest, *(own for own in (vectors, labels) if own < RESTING)])
        joined = Joined()
        for own in self._due(frontier, limit):
            pair = self._pairs[own]
            assert pair.vector is not None
            assert pair.outcome is not None
            joined.examples.append(Example(own, pair.vector, pair.outcome))
            # Its deadline stands already.
            self._pairs[own] = self._changed[own] = Pair(None, None, done=True, until=self._deadline(pair))
        self._expire(frontier if frontier == ENDED else min(frontier, self._newest), joined)
        joined.changed, self._changed = self._changed, {}
        return joined

    def _put(self, own: str, pair: Pair) -> None:
        self._pairs[own] = self._changed[own] = pair
        heapq.heappush(self._deadlines, (self._deadline(pair), own))
        if pair.vector and pair.outcome and abs(pair.outcome.time - pair.vector.time) <= self._wait:
            heapq.heappush(self._ready, (max(pair.vector.time, pair.outcome.time), own))

    def _deadline(self, pair: Pair) -> int:
        if pair.done:
            return pair.until
        times = [half.time for half in (pair.vector, pair.outcome) if half is not None]
        return max(times, default=0) + self._wait

    def _due(self, frontier: int, limit: int) -> Iterator[str]:
        while self._ready and self._ready[0][0] < frontier and limit > 0:
            limit -= 1
            yield heapq.heappop(self._ready)[1]

    def _expire(self, frontier: int, joined: Joined) -> None:
        # What is due, but beyond the step's limit, has its deadline later.
        until = min(frontier, self._ready[0][0]) if self._ready else frontier
        while self._deadlines and self._deadlines[0][0] < until:
            deadline, own = heapq.heappop(self._deadlines)
            pair = self._pairs.get(own)
            if pair is None or self._deadline(pair) != deadline:
                continue
            joined.expired += pair.vector is not None
            joined.unmatched += pair.outcome is not None
            del self._pairs[own]
            self._changed[own] = None
