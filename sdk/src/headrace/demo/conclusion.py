"""The conclusion of the demo: what was served, a question to the model, and a page about the year."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from headrace.demo import question
from headrace.demo.broker import connected
from headrace.demo.question import MODEL
from headrace.demo.report import Story, Throughput, render
from headrace.demo.samples import Sample, Watcher
from headrace.demo.served_quality import Served, read_served
from headrace.embedded import RunningLoop


def conclude(running: RunningLoop, watcher: Watcher, event: str, say: Callable[[str], None]) -> dict[str, object]:
    """Read what was served, ask once, write the page and sum up."""
    final = watcher.newest
    with connected(running) as client:
        summary = read_served(client, running.definition, running.definition.model(MODEL))
    answer = question.ask(event, running.data)
    page = running.data / "report.html"
    figures = _figures(final, watcher.look(), summary)
    command = question.command(event, running.data)
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
        say("\nThe model is tested from February on, and these events end before: see `--events 100000` or more.")
    say(f"\n$ {command}\n{answer}\n\nAdd --explain for its vector. The year in plots: {page}\n")
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
