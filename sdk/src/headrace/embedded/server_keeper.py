"""Supervision of a loop's local servers: a server that ends is started again on the same data."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.embedded.restarts import Delays, Restarts
from headrace.embedded.server_failures import failure_text
from headrace.embedded.servers import Server
from headrace.errors import HeadraceError

_LOOK_S = 0.5
_DELAYS = Delays()


@dataclass
class _Kept:
    """A server, its ends, and whether it is currently down."""

    server: Server
    restarts: Restarts
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
    is_full
        Whether their disk is full: they are paused until it has room.
    on_failures
        Called with all failures, as `failures` has them, whenever they have changed.
    delays
        The delays before a server is started again.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        logs: Path,
        *,
        say: Callable[[str], None],
        keeps: Callable[[], bool],
        is_full: Callable[[], bool] = lambda: False,
        on_failures: Callable[[Mapping[str, str]], None] = lambda failures: None,
        delays: Delays = _DELAYS,
    ) -> None:
        self._entries = [_Kept(server, Restarts(delays)) for server in servers]
        self._logs = logs
        self._say = say
        self._keeps = keeps
        self._is_full = is_full
        self._paused = False
        self._on_failures = on_failures
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
            self._pause_if(self._is_full())
            for entry in self._entries:
                if (entry.down or entry.server.has_ended) and self._keeps():
                    self._start_again(entry)
        self._pause_if(False)

    def _pause_if(self, full: bool) -> None:
        """Pause the servers as soon as their disk is full, and resume them once it has room."""
        if full == self._paused:
            return
        self._paused = full
        for entry in self._entries:
            if full:
                entry.server.pause()
            else:
                entry.server.resume()

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
        entry.down = False
        if self._paused:
            entry.server.pause()
        self._note_failure(entry, "")
        entry.restarts.started()
        self._say(f"the {name} runs again, on the data that it had")

    def _note_end(self, entry: _Kept, how: str) -> None:
        """Report how a server ended, and wait until it may be started again."""
        name, delay = entry.server.name, entry.restarts.ended()
        log = self._logs / f"{name}.log"
        if entry.restarts.failed:
            self._note_failure(entry, entry.restarts.verdict(how, log))
            self._say(failure_text(name, entry.failure))
        else:
            self._say(f"the {name} {how}; starting it again on the same data in {delay:g} s, its log is {log}")
        self._stopping.wait(delay)

    def _note_failure(self, entry: _Kept, failure: str) -> None:
        if entry.failure != failure:
            entry.failure = failure
            self._on_failures(self.failures)
