"""What concerns a loop as a whole."""

from __future__ import annotations

from headrace.declare.declaration import NAMES, Declaration, is_name
from headrace.declare.durations import EXAMPLES, parse_duration
from headrace.declare.mistakes import Mistakes
from headrace.declare.views import Duration


class Loop(Declaration):
    """The loop's name and settings; a file without it has the defaults.

    Parameters
    ----------
    name
        Its name, which all its topics start with; by default that of the file, or of the folder of
        a file called ``loop.py``.
    idle
        How long (wall clock) a partition's backlog must be empty until it holds nobody back.
    """

    kind = "loop"

    def __init__(self, name: str | None = None, *, idle: Duration = "5s") -> None:
        super().__init__(name)
        self.idle = idle

    def microseconds(self, mistakes: Mistakes) -> int:
        """`idle`, in µs."""
        if self.given_name is not None and not is_name(self.given_name):
            mistakes.add(self.place, "loop", f"{self.given_name!r} is no name for a loop", NAMES)
        try:
            return parse_duration(self.idle)
        except ValueError as error:
            mistakes.add(self.place, "loop", f"idle {error}", EXAMPLES)
            return 0
