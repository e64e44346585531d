"""Supervision of a loop's local servers: a server that ends is started again on the same data."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace.embedded.restarts import Restarts
from headrace.embedded.servers import Server
from headrace.errors import HeadraceError

_LOOK_S = 0.5


@dataclass
class _Kept:
    """A server, its ends, and whether it is currently down."""

    server: Server
    restarts: Restarts = field(default_factory=Restarts)
    down: bool = False
    failure: str = ""


class Keeper:
    """A watch on local servers, from `start` to `stop`.

    Parameters
    ----------
    logs
        The directory of their logs.
    say
        Called with a message about each end and each start.
    keeps
        Whether servers may be started: without their data directory they would start empty.
    """

    def __init__(
        self, servers: Sequence[Server], logs: Path, say: Callable[[str], None], keeps: Callable[[], bool]
    ) -> None:
        self._entries = [_Kept(server) for server in servers]
        self._logs = logs
        self._say = say
        self._keeps = keeps
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="server keeper", daemon=True)

    @property
    def failures(self) -> dict[str, str]:
        """For each server that keeps ending, what is known about it."""
        return {entry.server.name: entry.failure for entry in self._entries if entry.failure}

    def start(self) -> None:
        """Start watching the servers."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching them; wait for a start under way."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_S):
            for entry in self._entries:
                if (entry.down or entry.server.has_ended) and self._keeps():
                    self._start_again(entry)

    def _start_again(self, entry: _Kept) -> None:
        name = entry.server.name
        if not entry.down:
            self._note_end(entry, entry.server.last_words())
            entry.down = True
        try:
            entry.server.restart()
        except (HeadraceError, OSError) as error:
            self._note_end(entry, f"could not be started: {error}")
            return
        entry.down, entry.failure = False, ""
        entry.restarts.started()
        self._say(f"the {name} runs again, on the data that it had")

    def _note_end(self, entry: _Kept, how: str) -> None:
        """Report how a server ended, and wait until it may be started again."""
        name, delay = entry.server.name, entry.restarts.ended()
        log = self._logs / f"{name}.log"
        if entry.restarts.failed:
            entry.failure = entry.restarts.verdict(how, log)
            self._say(f"the {name} has failed: it {entry.failure}")
        else:
            self._say(f"the {name} {how}; starting it again on the same data in {delay:g} s, its log is {log}")
        self._stopping.wait(delay)
