"""Joining vectors with their late labels into examples, in event time.

Vectors and labels come in any order, days apart. A pair becomes an example once both halves are there
and the frontier of both sources has passed them: then no pair that belongs before it can still come, so
the order (the later of the two times, event id) of the examples does not depend on who came first.

An id may come again once its wait is over. Its halves are taken in the order of their event times, whenever they
come: the first one begins a pair, the first of the other kind within the wait completes it, and what is not beyond
the wait after the latest of the pair repeats it. What is beyond begins the next pair of this id.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple, TypeVar

from headrace.frontier import ENDED, RESTING, UNKNOWN


class Vector(NamedTuple):
    """A vector that waits: its event time and the vector itself, opaque to the join."""

    time: int
    payload: bytes


class Outcome(NamedTuple):
    """A label that waits: when it came to be known, and what it says."""

    time: int
    value: float | str


class Later(NamedTuple):
    """What came of an id besides its pair, each kind in the order of time: repeats, until the pair is decided; more."""

    vectors: tuple[Vector, ...]
    outcomes: tuple[Outcome, ...]


class Pair(NamedTuple):
    """What is known of one event id.

    Attributes
    ----------
    vector, outcome
        The halves of its earliest pair that is open.
    done
        The example before is out: up to `until`, what comes of this id repeats it.
    later
        None for nearly all: what belongs to this pair, or to a pair after it, only time tells.
    """

    vector: Vector | None
    outcome: Outcome | None
    done: bool = False
    until: int = 0
    later: Later | None = None


_NOTHING = Pair(None, None)
_Half = TypeVar("_Half", Vector, Outcome)


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
        self._passed = UNKNOWN
        for own, pair in (pairs or {}).items():
            # Earlier versions kept halves beyond each other's wait as one pair.
            far = pair.vector and pair.outcome and not self._near(pair.vector, pair.outcome)
            self._put(own, self._arrange(*_halves(pair)) if far else pair)
        self._changed.clear()

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def waiting(self) -> int:
        """Vectors that wait for their label."""
        return sum(1 for pair in self._pairs.values() if pair.vector and not pair.outcome)

    def vector(self, own: str, vector: Vector) -> bool:
        """Take a vector; False where, by what is known, it repeats another one of this id (the first wins)."""
        pair = self._pairs.get(own, _NOTHING)
        if pair.done and vector.time <= pair.until:
            return False
        if pair.vector is None and (pair.outcome is None or self._near(vector, pair.outcome)) and not pair.later:
            self._put(own, Pair(vector, pair.outcome, pair.done, pair.until))
            return True
        vectors, outcomes = _halves(pair)
        return _insert(vectors, vector) and self._place(own, pair, vectors, outcomes, vector)

    def outcome(self, own: str, outcome: Outcome) -> bool:
        """Take a label; False where, by what is known, it repeats another one of this id (the first wins)."""
        pair = self._pairs.get(own, _NOTHING)
        if pair.done and outcome.time <= pair.until:
            return False
        if pair.outcome is None and (pair.vector is None or self._near(pair.vector, outcome)) and not pair.later:
            self._put(own, Pair(pair.vector, outcome, pair.done, pair.until))
            return True
        vectors, outcomes = _halves(pair)
        return _insert(outcomes, outcome) and self._place(own, pair, vectors, outcomes, outcome)

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
        self._passed = passed = frontier if frontier == ENDED else min(frontier, self._newest)
        joined = Joined()
        ready, deadlines = self._ready, self._deadlines
        while True:
            due = ready[0][0] if ready else ENDED
            # In the order of time: what expires may make way for a pair that is due. What is due, but beyond the
            # step's limit, has its deadline later.
            if deadlines and deadlines[0][0] < (due if due < passed else passed):
                self._expire(*heapq.heappop(deadlines), joined)
            elif due < frontier and limit > 0:
                limit -= self._decide(*heapq.heappop(ready), joined)
            else:
                break
        joined.changed, self._changed = self._changed, {}
        return joined

    def _put(self, own: str, pair: Pair) -> None:
        self._pairs[own] = self._changed[own] = pair
        heapq.heappush(self._deadlines, (self._deadline(pair), own))
        if pair.vector and pair.outcome:
            heapq.heappush(self._ready, (max(pair.vector.time, pair.outcome.time), own))

    def _place(
        self, own: str, pair: Pair, vectors: list[Vector], outcomes: list[Outcome], half: Vector | Outcome
    ) -> bool:
        """Put the halves of an id in order, among them a new one; False where that is a repeat."""
        placed = self._arrange(vectors, outcomes, pair.done, pair.until)
        if placed != pair:
            self._put(own, placed)
        found: Pair | None = placed
        while found is not None and half is not found.vector and half is not found.outcome:
            found = self._after(found)
        return found is not None

    def _arrange(self, vectors: list[Vector], outcomes: list[Outcome], done: bool = False, until: int = 0) -> Pair:
        """The halves of an id, each kind in the order of time, as its earliest pair and what is later."""
        vector, outcome = vectors[0] if vectors else None, outcomes[0] if outcomes else None
        if vector and outcome and not self._near(vector, outcome):
            vector, outcome = (vector, None) if vector.time < outcome.time else (None, outcome)
        pair = Pair(vector, outcome, done, until)
        # A repeat before which nothing comes any more stays one, and goes: so an id that comes often is bounded, too.
        oldest = min(self._deadline(pair) + 1, self._passed)
        later = Later(
            tuple(own for own in vectors[vector is not None :] if own.time >= oldest),
            tuple(own for own in outcomes[outcome is not None :] if own.time >= oldest),
        )
        return pair._replace(later=later) if any(later) else pair

    def _after(self, pair: Pair, done: bool = False) -> Pair | None:
        """What is left of an id once a pair is over, and with it all that repeats it."""
        if pair.later is None:
            return None
        until = self._deadline(pair)
        vectors = [own for own in pair.later.vectors if own.time > until]
        outcomes = [own for own in pair.later.outcomes if own.time > until]
        return self._arrange(vectors, outcomes, done, until if done else 0) if vectors or outcomes else None

    def _near(self, vector: Vector, outcome: Outcome) -> bool:
        return abs(outcome.time - vector.time) <= self._wait

    def _deadline(self, pair: Pair) -> int:
        if pair.vector is None:
            return pair.until if pair.outcome is None else pair.outcome.time + self._wait
        if pair.outcome is None:
            return pair.vector.time + self._wait
        return max(pair.vector.time, pair.outcome.time) + self._wait

    def _decide(self, due: int, own: str, joined: Joined) -> bool:
        pair = self._pairs.get(own, _NOTHING)
        if pair.vector is None or pair.outcome is None or max(pair.vector.time, pair.outcome.time) != due:
            return False  # an earlier half has come since
        joined.examples.append(Example(own, pair.vector, pair.outcome))
        following = self._after(pair, done=True)
        if following is None:
            # Its deadline stands already.
            self._pairs[own] = self._changed[own] = Pair(None, None, True, self._deadline(pair))
        else:
            self._put(own, following)
        return True

    def _expire(self, deadline: int, own: str, joined: Joined) -> None:
        pair = self._pairs.get(own)
        if pair is None or self._deadline(pair) != deadline:
            return
        joined.expired += pair.vector is not None
        joined.unmatched += pair.outcome is not None
        following = self._after(pair)
        if following is None:
            del self._pairs[own]
            self._changed[own] = None
        else:
            self._put(own, following)


def _halves(pair: Pair) -> tuple[list[Vector], list[Outcome]]:
    later = pair.later or Later((), ())
    return [*filter(None, (pair.vector,)), *later.vectors], [*filter(None, (pair.outcome,)), *later.outcomes]


def _insert(halves: list[_Half], half: _Half) -> bool:
    """Put a half where its time belongs; False where there is one of its time: of these the first one read counts."""
    place = bisect_left(halves, half.time, key=attrgetter("time"))
    if place < len(halves) and halves[place].time == half.time:
        return False
    halves.insert(place, half)
    return True
