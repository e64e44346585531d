"""What a command that sends events says of them."""

from __future__ import annotations

from typing import NamedTuple


class Answer(NamedTuple):
    """How many of the events that were sent did what."""

    sent: int = 0
    accepted: int = 0
    repeats: int = 0
    rejected: int = 0
    late: int = 0
    undecided: int = 0
