"""The demo: a year of flights, as fast as the loop can process it. ``make demo``, or ``make demo EVENTS=100000``.

On a terminal it shows a board and stays up for questions; elsewhere it prints lines, asks one question and stops.
The last line on standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
import pulsar
from rich.console import Console
from rich.live import Live

from examples.flights import board, prepare, question
from examples.flights.playing import Playing
from examples.flights.report import Story, Throughput, render
from examples.flights.served import Served, read_served
from examples.flights.watch import MODEL, Sample, Watcher
from headrace import embedded
from headrace.embedded import RunningLoop
from headrace.embedded.locks import is_held
from headrace.errors import HeadraceError, Unavailable

LOOP = Path(__file__).with_name("loop.py")
DATA = Path(".headrace/demo").absolute()

# In the first few hundred events no flight has landed, so there is nothing to learn or to ask.
_FEWEST = 1_000
_SHOWN_EVERY_S = 1.0
_LINE_EVERY_S = 5.0


def main(arguments: Sequence[str]) -> int:
    """Run the demo and return the exit code."""
    options = argparse.ArgumentParser(prog="python -m examples.flights", description="A year of flights, learned.")
    options.add_argument("--events", type=_count, default=os.environ.get("EVENTS") or None, help="stop after so many")
    events = options.parse_args(arguments).events
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        _demo(events)
    except KeyboardInterrupt:
        return 130
    except HeadraceError as error:
        _say(str(error))
        return 1
    return 0


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of events, such as 100000")
    if int(text) < _FEWEST:
        raise argparse.ArgumentTypeError(f"{text} events are too few for a flight to land: say {_FEWEST} or more")
    return int(text)


def _demo(events: int | None) -> None:
    if is_held(DATA / "up.lock"):
        raise Unavailable(f"a demo is running already, on {DATA}")
    shutil.rmtree(DATA, ignore_errors=True)
    _say("preparing the flights of 2013 ...")
    files, total, event = _prepare(events)
    _say("starting a broker, a store and four services ...")
    with embedded.run(LOOP, data=DATA, report=_say) as running:
        watcher = _play(running, files, total)
        result = _conclude(running, watcher, event)
        print(json.dumps(result), flush=True)
        if sys.stdout.isatty():
            _say(f"\nThe loop stays up for your questions, until Ctrl-C:\n\n  {question.command(event, DATA)}\n")
            with suppress(KeyboardInterrupt):
                threading.Event().wait()


def _prepare(events: int | None) -> tuple[dict[str, Path], int, str]:
    """Write the event files; return them, the number of events and the question to ask at the end."""
    tables = prepare.first(events, prepare.streams())
    files = prepare.write(DATA / "events", tables)
    return files, sum(map(len, tables.values())), question.question(tables)


def _play(running: RunningLoop, files: Mapping[str, Path], total: int) -> Watcher:
    """Send the whole history and wait until it has been learned."""
    playing = Playing(running, files)
    watcher = Watcher(running, lambda: playing.sent)
    playing.start()
    with _Board(total) if sys.stdout.isatty() else _Lines() as screen:
        watcher.until_ended(playing, lambda sample: screen.show(sample, watcher.rates()), _SHOWN_EVERY_S)
    return watcher


def _conclude(running: RunningLoop, watcher: Watcher, event: str) -> dict[str, object]:
    """Read what was served, ask once, write the page and sum up."""
    final = watcher.newest
    client = pulsar.Client(running.pulsar_url, logger=pulsar.FileLogger(pulsar.LoggerLevel.Error, os.devnull))
    try:
        summary = read_served(client, running.definition, running.definition.model(MODEL))
    finally:
        client.close()
    answer = question.ask(event, DATA)
    page = DATA / "report.html"
    figures = _figures(final, watcher.look(), summary)
    command = question.command(event, DATA)
    page.write_text(
        render(
            Story(
                figures,
                final.points,
                summary.quality.points,
                final.metrics,
                summary.quality.metrics(),
                summary.label_lags,
                _throughput(watcher, final),
                command,
                answer,
            )
        )
    )
    if figures["roc_auc"] is None:
        _say("\nThe model is tested from February on, and these events end before: see EVENTS=100000 or more.")
    _say(f"\n$ {command}\n{answer}\n\nAdd --explain for its vector. The year in plots: {page}\n")
    return {**figures, "report": str(page)}


def _figures(final: Sample, last: Sample, summary: Served) -> dict[str, object]:
    # Before February nothing is scored, so there may be no metrics to report.
    metrics = final.metrics if final.metrics.get("scored") else {}
    measures = ("roc_auc", "log_loss", "accuracy", "ece", "prior_log_loss", "no_change_accuracy")
    served_metrics = summary.quality.metrics() if metrics else {}
    return {
        "events": final.played,
        "predictions": summary.predictions,
        "labels": last.counts["ingest.accepted:arrived"],
        "examples": summary.examples,
        "dead_letters": summary.dead_letters,
        "version": final.version,
        **{name: _rounded(metrics.get(name)) for name in measures},
        **{f"served_{name}": _rounded(served_metrics.get(name)) for name in ("roc_auc", "log_loss")},
        "events_per_s": round(final.played / final.wall_s, 1),
        "wall_s": round(final.wall_s, 1),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _throughput(watcher: Watcher, final: Sample) -> Throughput:
    counters = {"events": "feature.events", "predictions": "scorer.predictions", "examples": "learner.examples"}
    samples = watcher.samples[: watcher.samples.index(final) + 1]
    return Throughput(
        np.array([sample.wall_s for sample in samples]),
        {name: np.array([sample.counts[key] for sample in samples], np.int64) for name, key in counters.items()},
    )


class _Screen(Protocol):
    def show(self, sample: Sample, rates: Mapping[str, float]) -> None: ...


class _Board(Live):
    def __init__(self, total: int) -> None:
        super().__init__(console=Console(), auto_refresh=False)
        self._total = total

    def show(self, sample: Sample, rates: Mapping[str, float]) -> None:
        self.update(board.board(sample, rates, self._total), refresh=True)


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


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
