"""A session of the demo: it runs the loop, plays the events and shows what becomes of them."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.live import Live

from headrace import embedded
from headrace.demo import board, question
from headrace.demo.first_prediction import FirstPrediction
from headrace.demo.playback import Playing
from headrace.demo.preparation import PreparedEvents
from headrace.demo.samples import Sample, Watcher
from headrace.embedded import RunningLoop

_SHOWN_EVERY_S = 1.0
_LINE_EVERY_S = 5.0


def run(loop: Path, data: Path, prepared: Future[PreparedEvents], began: float) -> None:
    """Run a session on a data directory; `began` is the (monotonic) time at which the demo began.

    Raises
    ------
    Unavailable
        A service does not come up.
    """
    with embedded.run(loop, data=data, report=_say) as running:
        events = prepared.result()
        watcher = _play(running, events, began)
        # Imported only now: plots and measures take as long to import as the services to start.
        from headrace.demo.conclusion import conclude

        print(json.dumps(conclude(running, watcher, events.question, _say)), flush=True)
        if sys.stdout.isatty():
            command = question.command(events.question, data)
            _say(f"\nThe loop stays up for your questions, until Ctrl-C:\n\n  {command}\n")
            with suppress(KeyboardInterrupt):
                threading.Event().wait()


def _play(running: RunningLoop, events: PreparedEvents, began: float) -> Watcher:
    """Send the whole history and wait until it has been learned."""
    playing = Playing(running, events.files)
    watcher = Watcher(running, lambda: playing.sent)
    playing.start()
    model = running.definition.model(question.MODEL)
    with (
        _Board(events.count) if sys.stdout.isatty() else _Lines() as screen,
        FirstPrediction(running, model, screen.say, lambda: time.monotonic() - began),
    ):
        watcher.until_ended(playing, lambda sample: screen.show(sample, watcher.rates()), _SHOWN_EVERY_S)
    return watcher


class _Screen(Protocol):
    def show(self, sample: Sample, rates: Mapping[str, float]) -> None: ...

    def say(self, text: str) -> None: ...


class _Board(Live):
    def __init__(self, total: int) -> None:
        super().__init__(console=Console(), auto_refresh=False)
        self._total = total

    def show(self, sample: Sample, rates: Mapping[str, float]) -> None:
        self.update(board.board(sample, rates, self._total), refresh=True)

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False)


class _Lines:
    def __init__(self) -> None:
        self._next = 0.0

    def __enter__(self) -> _Screen:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, sample: Sample, rates: Mapping[str, float]) -> None:
        if sample.wall_s >= self._next or sample.ended:
            self._next = sample.wall_s + _LINE_EVERY_S
            print(board.line(sample, rates), flush=True)

    def say(self, text: str) -> None:
        print(text, flush=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
