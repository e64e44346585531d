"""The referee: which candidate of a model is the champion; internal.

It computes only: it reads no topic and no clock, and writes nothing.
"""

from headrace.engine.referee.confidence import Capital, ConfidenceSequence
from headrace.engine.referee.metric import Loss, Metric
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
from headrace.engine.referee.referee import Referee, RefereeState, replay
from headrace.engine.referee.shares import share

__all__ = [
    "Beginning",
    "Capital",
    "Command",
    "ConfidenceSequence",
    "Declare",
    "Evidence",
    "Join",
    "Kind",
    "Leave",
    "Loss",
    "Metric",
    "Pin",
    "Promote",
    "Record",
    "Referee",
    "RefereeState",
    "RollBack",
    "Rule",
    "Unpin",
    "replay",
    "share",
]
