"""What a referee is told, and what it writes down."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from headrace.engine.referee.metric import Metric

_DAY = 24 * 3600 * 1_000_000


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """When a challenger is better than the champion.

    Attributes
    ----------
    metric
        What is compared.
    error_rate
        The probability that any automatic promotion or rollback ever made for this model is wrong.
    better_by
        The difference of the means that a challenger must exceed.
    after
        How long a challenger is compared before it is promoted, in µs of event time. A rollback does not wait.
    restart
        How long a comparison takes before it begins again from nothing, in µs of event time.
    automatic
        Decisions take effect; otherwise they are proposed.
    """

    metric: Metric = Metric()
    error_rate: float = 0.01
    better_by: float = 0.0
    after: int = 14 * _DAY
    restart: int = 90 * _DAY
    automatic: bool = True

    def __post_init__(self) -> None:
        if not 0.0 < self.error_rate < 1.0:
            raise ValueError(f"error_rate is {self.error_rate}: it must lie between 0 and 1")
        if not 0.0 <= self.better_by <= self.width / 2.0:
            raise ValueError(
                f"better_by is {self.better_by}: it must lie between 0 and half the range, {self.width / 2.0}"
            )
        if not 0 <= self.after < self.restart:
            raise ValueError(f"after is {self.after} µs: it must be shorter than restart, {self.restart} µs")

    @property
    def width(self) -> float:
        """The largest difference of two losses."""
        return self.metric.highest - self.metric.lowest


class Declare(msgspec.Struct, frozen=True, tag=True):
    """The loop file: its candidates, and the champion as long as no other one has been chosen."""

    champion: str
    candidates: tuple[str, ...]
    rule: Rule


class Join(msgspec.Struct, frozen=True, tag=True):
    """A candidate has learned the kept log, and is compared from here on."""

    candidate: str
    reason: str = ""


class Leave(msgspec.Struct, frozen=True, tag=True):
    """A challenger is no longer compared, until it joins again."""

    candidate: str
    reason: str = ""


class Promote(msgspec.Struct, frozen=True, tag=True):
    """Make a challenger the champion, by hand."""

    candidate: str
    reason: str = ""


class RollBack(msgspec.Struct, frozen=True, tag=True):
    """Make the previous champion the champion again, by hand."""

    reason: str = ""


class Pin(msgspec.Struct, frozen=True, tag=True):
    """Keep the champion: decide nothing, and go on comparing."""

    reason: str = ""


class Unpin(msgspec.Struct, frozen=True, tag=True):
    """Decide again."""

    reason: str = ""


Command = Declare | Join | Leave | Promote | RollBack | Pin | Unpin


class Kind(StrEnum):
    """What a record is about."""

    DECLARED = "declared"
    JOINED = "joined"
    LEFT = "left"
    PINNED = "pinned"
    UNPINNED = "unpinned"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    PROPOSED = "proposed"
    RESTARTED = "restarted"


class Beginning(msgspec.Struct, frozen=True):
    """A comparison that begins after the record's seq, with the probability of error that it may spend."""

    number: int
    challenger: str
    share: float


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison has shown.

    Attributes
    ----------
    number, champion, challenger, share
        The comparison, and the probability with which each end of its interval may be wrong, at any time.
    since, seq
        It covers the examples after `since` up to `seq` that both candidates have.
    began, time
        Event time of its first example, and the newest one.
    examples, difference, lower, upper
        How much smaller the challenger's losses are: their number, mean and interval.
    better_by
        What the lower end must exceed.
    """

    number: int
    champion: str
    challenger: str
    share: float
    since: int
    seq: int
    began: int
    time: int
    examples: int
    difference: float
    lower: float
    upper: float
    better_by: float


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A command that has taken effect, or a decision.

    Attributes
    ----------
    number
        Its place in the log of records, from 1.
    kind
        What happened.
    seq
        It takes effect behind this example.
    champion
        The champion from there on.
    reason
        Why, in words.
    command
        The command; None for a decision of the referee's own.
    evidence
        What a decision follows from; None for a command.
    cut
        The seq up to which each challenger had been compared. A comparison that was behind and ended here stays there.
    begun
        The comparisons that begin.
    """

    number: int
    kind: Kind
    seq: int
    champion: str
    reason: str
    command: Command | None = None
    evidence: Evidence | None = None
    cut: dict[str, int] = {}
    begun: tuple[Beginning, ...] = ()
