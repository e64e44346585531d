"""A comparison of the champion with one challenger."""

from __future__ import annotations

import copy
from typing import NamedTuple

import msgspec
import numpy as np

from headrace.engine.arrays import Floats, Ints
from headrace.engine.referee.confidence import ConfidenceSequence
from headrace.engine.referee.records import Evidence, Rule

# Number of pairs that are followed at once on the way to an event.
_PIECE = 2_048


class Pairs(NamedTuple):
    """Examples that two candidates have both answered, in order, and the champion's losses less the challenger's."""

    seqs: Ints
    times: Ints
    differences: Floats

    def until(self, seq: int) -> Pairs:
        """Return the pairs up to a seq."""
        return self.rows(0, int(np.searchsorted(self.seqs, seq, side="right")))

    def rows(self, start: int, stop: int) -> Pairs:
        """Return some of the pairs."""
        return Pairs(self.seqs[start:stop], self.times[start:stop], self.differences[start:stop])


class Event(NamedTuple):
    """The first place at which a comparison asks the referee to act; of several ones the least is first."""

    seq: int
    number: int
    shown: bool


class Comparison(msgspec.Struct):
    """The losses of one challenger beside the champion's, from a seq on.

    Attributes
    ----------
    number, share
        Its number among the model's comparisons, and the probability of error that it may spend.
    since, position
        It covers the examples after `since` up to `position`.
    after, restart
        How long it takes at least before it shows anything, and at most, in µs of event time.
    began, time
        Event times: of the first example, and the newest one.
    proposed
        Its result has been proposed, and is not proposed again.
    """

    number: int
    champion: str
    challenger: str
    share: float
    since: int
    position: int
    after: int
    restart: int
    sequence: ConfidenceSequence
    began: int | None = None
    time: int = 0
    proposed: bool = False

    @classmethod
    def begin(
        cls, number: int, pair: tuple[str, str], *, share: float, since: int, after: int, rule: Rule
    ) -> Comparison:
        """Return a comparison of (champion, challenger) that has seen nothing."""
        sequence = ConfidenceSequence(rule.width, rule.better_by)
        return cls(number, *pair, share, since, since, after, rule.restart, sequence)

    def ahead(self, pairs: Pairs, *, deciding: bool) -> tuple[Comparison, Event | None]:
        """Return what follows the next pairs up to the first event, and the event; change nothing."""
        ahead, event = copy.deepcopy(self), None
        for start in range(0, len(pairs.seqs), _PIECE):
            if (event := ahead.take(pairs.rows(start, start + _PIECE), deciding=deciding)) is not None:
                break
        return ahead, event

    def take(self, pairs: Pairs, *, deciding: bool) -> Event | None:
        """Follow the next pairs, and return the first event among them; without `deciding`, only that it is over."""
        if not len(pairs.seqs):
            return None
        began = int(pairs.times[0]) if self.began is None else self.began
        times = np.maximum(np.maximum.accumulate(pairs.times), self.time if self.began is not None else began)
        better = self.sequence.update(pairs.differences, self.share)
        shown = better & (times - began >= self.after) & (deciding and not self.proposed)
        over = times - began >= self.restart
        self.began, self.time, self.position = began, int(times[-1]), int(pairs.seqs[-1])
        events = np.flatnonzero(shown | over)
        return Event(int(pairs.seqs[events[0]]), self.number, bool(shown[events[0]])) if len(events) else None

    def evidence(self) -> Evidence:
        """Return what has been shown so far."""
        lower, upper = self.sequence.interval(self.share)
        return Evidence(
            number=self.number,
            champion=self.champion,
            challenger=self.challenger,
            share=self.share,
            since=self.since,
            seq=self.position,
            began=self.began or 0,
            time=self.time,
            examples=self.sequence.examples,
            difference=self.sequence.mean,
            lower=lower,
            upper=upper,
            better_by=self.sequence.anchor,
        )
