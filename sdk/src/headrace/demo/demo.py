"""The demo: a year of flights, as fast as the loop can process it."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
from rich.console import Console
from rich.live import Live

from headrace import embedded
from headrace.demo import board, dataset, question
from headrace.demo.broker import connected
from headrace.demo.first_prediction import FirstPrediction
from headrace.demo.playback import Playing
from headrace.demo.report import Story, Throughput, render
from headrace.demo.samples import MODEL, Sample, Watcher
from headrace.demo.served_quality import Served, read_served
from headrace.embedded import RunningLoop
from headrace.embedded.locks import is_held
from headrace.errors import Unavailable

LOOP = Path(__file__).with_name("loop.py")
DATA = Path(".headrace/demo").absolute()

_SHOWN_EVERY_S = 1.0
_LINE_EVERY_S = 5.0


def run(events: int | None) -> None:
    """Run the demo over the first events of the year, or all of them.

    Raises
    ------
    Unavailable
        A demo is already running here, or a service does not come up.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    if is_held(DATA / "up.lock"):
        raise Unavailable(f"a demo is running already, on {DATA}")
    dataset.check()
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True, mode=0o700)
    began = time.monotonic()
    _say("starting a broker, a store and four services, and preparing the flights of 2013 ...")
    with ThreadPoolExecutor(1) as preparing:
        prepared = preparing.submit(_prepare, events)
        with embedded.run(LOOP, data=DATA, report=_say) as running:
            files, total, event = prepared.result()
            watcher = _play(running, files, total, began)
            result = _conclude(running, watcher, event)
            print(json.dumps(result), flush=True)
            if sys.stdout.isatty():
                _say(f"\nThe loop stays up for your questions, until Ctrl-C:\n\n  {question.command(event, DATA)}\n")
                with suppress(KeyboardInterrupt):
                    threading.Event().wait()


def _prepare(events: int | None) -> tuple[dict[str, Path], int, str]:
    """Write the event files; return them, the number of events and the question to ask at the end."""
    tables = dataset.first(events, dataset.streams())
    files = dataset.write(DATA / "events", tables)
    return files, sum(map(len, tables.values())), question.question(tables)


def _play(running: RunningLoop, files: Mapping[str, Path], total: int, began: float) -> Watcher:
    """Send the whole history and wait until it has been learned."""
    playing = Playing(running, files)
    watcher = Watcher(running, lambda: playing.sent)
    playing.start()
    model = running.definition.model(MODEL)
    with (
        _Board(total) if sys.stdout.isatty() else _Lines() as screen,
        FirstPrediction(running, model, screen.say, lambda: time.monotonic() - began),
    ):
        watcher.until_ended(playing, lambda sample: screen.show(sample, watcher.rates()), _SHOWN_EVERY_S)
    return watcher


def _conclude(running: RunningLoop, watcher: Watcher, event: str) -> dict[str, object]:
    """Read what was served, ask once, write the page and sum up."""
    final = watcher.newest
    with connected(running) as client:
        summary = read_served(client, running.definition, running.definition.model(MODEL))
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
