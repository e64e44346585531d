"""Settings of a loop as a whole."""

from __future__ import annotations

from headrace.declare.declaration import Declaration
from headrace.declare.durations import Duration, Retention


class Loop(Declaration):
    """The loop's name and settings; a file without a `Loop` uses the defaults.

    Parameters
    ----------
    name
        Its name, with which all its topics start; by default that of the file, or of the folder if the
        file is called ``loop.py``.
    idle
        How long (wall clock) a partition's backlog must be empty before it no longer holds anything back.
    compact_models
        The versions of its models are compacted to the newest ones each time that this many bytes have
        been added: a starting scorer never reads more superseded versions than that.
    dead_letters_retention
        How long (wall clock) the broker keeps dead letters, or ``"forever"``.
    dead_letters_bytes
        How many bytes of dead letters the broker keeps; the newest ones stay.
    """

    kind = "loop"

    def __init__(
        self,
        name: str | None = None,
        *,
        idle: Duration = "5s",
        compact_models: int = 16 * 2**20,
        dead_letters_retention: Retention = "90d",
        dead_letters_bytes: int = 2**30,
    ) -> None:
        super().__init__(name)
        self.idle = idle
        self.compact_models = compact_models
        self.dead_letters_retention = dead_letters_retention
        self.dead_letters_bytes = dead_letters_bytes
