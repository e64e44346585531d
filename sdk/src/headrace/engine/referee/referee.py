"""The referee of one model: a state machine over its losses and its log of commands.

The same losses and the same records give the same decisions, to the bit, however either arrived: see `replay`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import msgspec

from headrace.engine.arrays import Floats, Ints
from headrace.engine.referee.comparison import Comparison, Event, Pairs
from headrace.engine.referee.losses import PendingLosses, pairs_of
from headrace.engine.referee.records import (
    Beginning,
    Command,
    Declare,
    Evidence,
    Join,
    Kind,
    Leave,
    Pin,
    Promote,
    Record,
    RollBack,
    Rule,
    Unpin,
)
from headrace.engine.referee.shares import share
from headrace.errors import InvalidRequest

#: How many losses of one candidate may wait for those of another; with more, the challenger of the two leaves.
MOST_WAITING = 1_000_000


class RefereeState(msgspec.Struct):
    """Everything that a checkpoint keeps. The losses behind the comparisons' positions are read again.

    Attributes
    ----------
    champions
        Those that could be rolled back to, in the order in which they were promoted, and the present one last.
    joined
        The candidates that are compared, in the order in which they joined.
    records, begun
        The number of records written, and of comparisons begun.
    seq, head
        Where the last record takes effect, and the last example of which any loss has been read.
    """

    rule: Rule | None = None
    candidates: tuple[str, ...] = ()
    champions: list[str] = []
    joined: list[str] = []
    pinned: bool = False
    records: int = 0
    begun: int = 0
    seq: int = -1
    head: int = -1
    comparisons: list[Comparison] = []


class Referee:
    """Decides which candidate of a model is the champion.

    Parameters
    ----------
    state
        The state to go on from.
    most_waiting
        How many losses of one candidate may wait for those of another.
    """

    def __init__(self, state: RefereeState | None = None, most_waiting: int = MOST_WAITING) -> None:
        self.state = state or RefereeState()
        self._most_waiting = most_waiting
        self._losses: dict[str, PendingLosses] = {}

    @property
    def champion(self) -> str:
        """The candidate that answers."""
        return self.state.champions[-1]

    @property
    def read_from(self) -> int:
        """The seq behind which losses must be read again after a restart."""
        return min((comparison.position for comparison in self.state.comparisons), default=self.state.head)

    def add(self, candidate: str, seqs: Ints, times: Ints, losses: Floats) -> None:
        """Take the next losses of a candidate, in the order of seq. Losses that were read before change nothing."""
        if len(seqs):
            self._losses.setdefault(candidate, PendingLosses()).add(seqs, times, losses)
            self.state.head = max(self.state.head, int(seqs[-1]))

    def decide(self) -> list[Record]:
        """Compare as far as the losses go, and return what was decided."""
        records = []
        while (record := self.advance()) is not None:
            records.append(record)
        behind = [each.challenger for each in self.state.comparisons if self._unmatched(each) > self._most_waiting]
        records += [self.apply(Leave(each, "its losses, or the champion's, are missing")) for each in behind]
        self._drop_used()
        return records

    def advance(self, cut: Mapping[str, int] | None = None) -> Record | None:
        """Compare up to the first event, and return its record; with a cut, compare up to the cut and no further."""
        state, deciding = self.state, not self.state.pinned
        pairs = [self._pairs(comparison, cut) for comparison in state.comparisons]
        looks = [each.ahead(some, deciding=deciding) for each, some in zip(state.comparisons, pairs, strict=True)]
        first = min((event for _, event in looks if event is not None), default=None)
        if first is None:
            state.comparisons = [ahead for ahead, _ in looks]
            return None
        for comparison, some in zip(state.comparisons, pairs, strict=True):
            comparison.take(some.until(first.seq) if cut is None else some, deciding=deciding)
        return self._decided(first)

    def apply(self, command: Command, seq: int | None = None) -> Record:
        """Let a command take effect behind the last example of which any loss has been read, or where it once did.

        Raises
        ------
        InvalidRequest
            It names a candidate that cannot do what it asks for.
        """
        _check(command, self.state)
        cut, begun = self._cut(), self.state.begun
        self.state.seq = max(self.state.seq, self.state.head if seq is None else seq)
        kind = self._obey(command)
        reason = "" if isinstance(command, Declare) else command.reason
        return self._record(kind, cut, begun, reason=reason, command=command)

    def _obey(self, command: Command) -> Kind:
        match command:
            case Declare():
                self._declare(command)
                return Kind.DECLARED
            case Join(candidate):
                self.state.joined.append(candidate)
                self._begin(candidate)
                return Kind.JOINED
            case Leave(candidate):
                self._keep([each for each in self.state.joined if each != candidate])
                return Kind.LEFT
            case Promote(candidate):
                self._promote(candidate)
                return Kind.PROMOTED
            case RollBack():
                self._roll_back()
                return Kind.ROLLED_BACK
            case Pin():
                self.state.pinned = True
                return Kind.PINNED
            case Unpin():
                self.state.pinned = False
                return Kind.UNPINNED

    def _declare(self, command: Declare) -> None:
        state = self.state
        before = (state.champions[-1:], state.rule)
        state.rule, state.candidates = command.rule, command.candidates
        self._keep([each for each in state.joined if each in command.candidates])
        if not state.champions or before[0] != state.champions[-1:]:
            state.champions.append(command.champion)
            state.joined = list(dict.fromkeys((*state.joined, command.champion)))
        if before != (state.champions[-1:], state.rule):
            self._begin_all()

    def _keep(self, joined: list[str]) -> None:
        """Let all other candidates leave."""
        state = self.state
        state.joined = joined
        state.champions = [each for each in state.champions if each in joined]
        state.comparisons = [each for each in state.comparisons if each.challenger in joined]

    def _promote(self, candidate: str) -> None:
        self.state.champions = [*(each for each in self.state.champions if each != candidate), candidate]
        self._begin_all()

    def _roll_back(self) -> None:
        self.state.champions.pop()
        self._begin_all()

    def _begin_all(self) -> None:
        """Compare each challenger with the present champion, from nothing."""
        self.state.comparisons = []
        for candidate in self.state.joined:
            if candidate != self.champion:
                self._begin(candidate)

    def _begin(self, challenger: str) -> None:
        """Compare a challenger with the champion from the last record on, in place of their last comparison."""
        state, rule = self.state, self._rule
        state.begun += 1
        comparison = Comparison.begin(
            state.begun,
            (self.champion, challenger),
            share=share(rule.error_rate, state.begun),
            since=state.seq,
            after=0 if challenger == self._predecessor else rule.after,
            rule=rule,
        )
        state.comparisons = [*(each for each in state.comparisons if each.challenger != challenger), comparison]

    def _decided(self, event: Event) -> Record:
        """Let an event take effect behind the last example that any comparison has seen."""
        state = self.state
        comparison = next(each for each in state.comparisons if each.number == event.number)
        evidence, cut, begun = comparison.evidence(), self._cut(), state.begun
        state.seq = max(state.seq, *cut.values())
        kind = self._act(comparison, shown=event.shown)
        return self._record(kind, cut, begun, reason=_reason(kind, evidence), evidence=evidence)

    def _act(self, comparison: Comparison, *, shown: bool) -> Kind:
        if not shown:
            self._begin(comparison.challenger)
            return Kind.RESTARTED
        if not self._rule.automatic:
            comparison.proposed = True
            return Kind.PROPOSED
        if comparison.challenger == self._predecessor:
            self._roll_back()
            return Kind.ROLLED_BACK
        self._promote(comparison.challenger)
        return Kind.PROMOTED

    def _record(
        self,
        kind: Kind,
        cut: dict[str, int],
        begun: int,
        *,
        reason: str,
        command: Command | None = None,
        evidence: Evidence | None = None,
    ) -> Record:
        self.state.records += 1
        return Record(
            number=self.state.records,
            kind=kind,
            seq=self.state.seq,
            champion=self.champion,
            reason=reason,
            command=command,
            evidence=evidence,
            cut=cut,
            begun=tuple(
                Beginning(each.number, each.challenger, each.share)
                for each in self.state.comparisons
                if each.number > begun
            ),
        )

    @property
    def _rule(self) -> Rule:
        if self.state.rule is None:
            raise ValueError("the first command must be Declare")
        return self.state.rule

    @property
    def _predecessor(self) -> str | None:
        return self.state.champions[-2] if len(self.state.champions) > 1 else None

    def _cut(self) -> dict[str, int]:
        return {each.challenger: each.position for each in self.state.comparisons}

    def _sides(self, comparison: Comparison) -> tuple[PendingLosses, PendingLosses]:
        none = PendingLosses()
        return self._losses.get(comparison.champion, none), self._losses.get(comparison.challenger, none)

    def _pairs(self, comparison: Comparison, cut: Mapping[str, int] | None) -> Pairs:
        until = None if cut is None else cut.get(comparison.challenger, comparison.position)
        return pairs_of(*self._sides(comparison), bound=self._rule.metric.bounded, span=(comparison.position, until))

    def _drop_used(self) -> None:
        """Forget the losses that no comparison needs."""
        for candidate, pending in self._losses.items():
            positions = [
                each.position for each in self.state.comparisons if candidate in (each.champion, each.challenger)
            ]
            pending.drop(min(positions, default=self.state.head))

    def _unmatched(self, comparison: Comparison) -> int:
        return max(side.waiting(comparison.position) for side in self._sides(comparison))


def replay(records: Iterable[Record], losses: Mapping[str, tuple[Ints, Ints, Floats]]) -> Iterator[Record]:
    """Compute records again from the commands among them, and from each candidate's seqs, times and losses.

    The result equals the records. It ends at the first place where another decision follows from the losses, or none.
    """
    referee = Referee()
    for candidate, columns in losses.items():
        referee.add(candidate, *columns)
    for record in records:
        decision = referee.advance(record.cut)
        if decision is not None:
            yield decision
        elif record.command is not None:
            yield referee.apply(record.command, record.seq)
        if (decision is None) == (record.command is None):
            return


def _check(command: Command, state: RefereeState) -> None:
    """Refuse what a command cannot do."""
    challengers = [each for each in state.joined if each not in state.champions[-1:]]
    match command:
        case Declare(champion, candidates):
            _require("champion", champion, candidates)
        case Join(candidate):
            _require("candidate", candidate, [each for each in state.candidates if each not in state.joined])
        case Leave(candidate) | Promote(candidate):
            _require("candidate", candidate, challengers)
        case RollBack() if len(state.champions) < 2:
            raise InvalidRequest("rollback", "refused", "an earlier champion that still takes part")
        case Pin() | Unpin() if not state.champions:
            raise InvalidRequest("model", "undeclared", "a declared model")


def _require(field: str, name: str, allowed: Collection[str]) -> None:
    if name not in allowed:
        raise InvalidRequest(
            field, repr(name), f"one of {', '.join(allowed)}" if allowed else "none: there is no other"
        )


def _reason(kind: Kind, evidence: Evidence) -> str:
    if kind is Kind.RESTARTED:
        return f"{evidence.challenger} was compared for long enough; an old lead must not hide a present loss"
    return (
        f"{evidence.challenger} is better than {evidence.champion} by at least {evidence.lower:.6f}"
        f" over {evidence.examples} examples"
    )
