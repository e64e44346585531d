"""The answer of a command that sends events."""

from __future__ import annotations

from typing import NamedTuple


class Answer(NamedTuple):
    """The number of sent events by outcome."""

    sent: int = 0
    accepted: int = 0
    repeats: int = 0
    rejected: int = 0
    late: int = 0
    undecided: int = 0
