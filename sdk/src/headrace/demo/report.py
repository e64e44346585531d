"""The report that the demo leaves at the end of the year: data in, one self-contained HTML file out."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure

from headrace.engine.quality import Point

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "headrace",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
_LEARNER, _SERVED, _BASELINE = "#0b6e99", "#e07b00", "#8a8a8a"


@dataclass(frozen=True)
class Throughput:
    """Counts since the start, sampled during the run: float64[N] seconds, and int64[N] for each name."""

    wall_s: npt.NDArray[np.float64]
    counts: Mapping[str, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class Story:
    """The contents of the report.

    Attributes
    ----------
    figures
        The numbers of the whole run, by name.
    learned, served
        Quality over the year: of the learner's own test, and of the served scores.
    learned_metrics, served_metrics
        The same, over the whole year.
    label_lags
        Hours from each question to its label.
    command, answer
        The command that asks the model, and its answer.
    """

    figures: Mapping[str, object]
    learned: Sequence[Point]
    served: Sequence[Point]
    learned_metrics: Mapping[str, float | None]
    served_metrics: Mapping[str, float | None]
    label_lags: npt.NDArray[np.float64]
    throughput: Throughput
    command: str
    answer: str


def render(story: Story) -> str:
    """Render the report."""
    return _PAGE.format(
        tiles="".join(_tile(name, value) for name, value in story.figures.items() if value is not None),
        quality=_quality(story),
        lags=_lag_plot(story.label_lags),
        throughput=_throughput_plot(story.throughput),
        command=html.escape(story.command),
        answer=html.escape(story.answer),
    )


def _number(value: float) -> str:
    """Format a number with as many digits as are useful: a rate has no decimals, a quality has four."""
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.1f}" if value >= 10 else f"{value:.4f}"


def _tile(name: str, value: object) -> str:
    text = _number(value) if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    return f"<div><b>{html.escape(text)}</b><span>{html.escape(name.replace('_', ' '))}</span></div>"


def _quality(story: Story) -> str:
    if not story.learned_metrics.get("scored"):
        return "<p>Nothing to tell: the model is tested from February on, and this run ended before.</p>"
    plots = "<p>Over the year, each point over the last 5,000 flights:</p>" + _quality_plot(story)
    return _TABLE.format(rows=_comparison(story.learned_metrics, story.served_metrics)) + (
        plots if story.learned else ""
    )


def _comparison(learned: Mapping[str, float | None], served: Mapping[str, float | None]) -> str:
    rows = (
        ("ROC AUC", "roc_auc", 0.5, "guessing"),
        ("log loss", "log_loss", learned.get("prior_log_loss"), "prior"),
        ("accuracy", "accuracy", learned.get("no_change_accuracy"), "no change"),
    )
    cells = (
        f"<tr><td>{title}<td>{_measure(learned.get(key))}<td>{_measure(served.get(key))}"
        f"<td>{_measure(baseline)} <small>{baseline_name}</small></tr>"
        for title, key, baseline, baseline_name in rows
    )
    return "".join(cells)


def _measure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _quality_plot(story: Story) -> str:
    with rc_context(_STYLE):
        figure = Figure(figsize=(9.5, 8), layout="constrained")
        areas, losses, accuracies = figure.subplots(3, 1, sharex=True)
        for axes, key in ((areas, "roc_auc"), (losses, "log_loss"), (accuracies, "accuracy")):
            _line(axes, story.learned, key, _LEARNER, label="as of the question")
            _line(axes, story.served, key, _SERVED, label="as served, two hours ahead")
        areas.axhline(0.5, color=_BASELINE, linestyle="--", label="guessing")
        _line(losses, story.learned, "prior_log_loss", _BASELINE, label="prior", linestyle="--")
        _line(accuracies, story.learned, "no_change_accuracy", _BASELINE, label="no change", linestyle="--")
        titles = ("ROC AUC (more is better)", "log loss (less is better)", "accuracy (more is better)")
        for axes, title in zip((areas, losses, accuracies), titles, strict=True):
            axes.set_title(title, loc="left")
            if axes.lines:
                axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=3, fontsize=8, frameon=False)
        return _svg(figure)


def _line(axes: Any, points: Sequence[Point], key: str, color: str, *, label: str, linestyle: str = "-") -> None:
    if points:
        times = [datetime.fromtimestamp(point.time / 1e6, UTC) for point in points]
        axes.plot(times, [point.metrics[key] for point in points], linestyle, color=color, label=label, linewidth=1.5)


def _lag_plot(hours: npt.NDArray[np.float64]) -> str:
    with rc_context(_STYLE):
        figure = Figure(figsize=(9.5, 2.6), layout="constrained")
        axes = figure.subplots()
        if len(hours):
            axes.hist(np.clip(hours, 0, 16), bins=64, color=_LEARNER)
            axes.axvline(float(np.median(hours)), color=_SERVED, label=f"median {np.median(hours):.1f} h")
            axes.legend(frameon=False)
        axes.set_xlabel("hours from the question to its label (16 and more together)")
        axes.set_ylabel("flights")
        return _svg(figure)


def _throughput_plot(throughput: Throughput) -> str:
    with rc_context(_STYLE):
        figure = Figure(figsize=(9.5, 2.6), layout="constrained")
        axes = figure.subplots()
        for (name, counts), color in zip(throughput.counts.items(), (_LEARNER, _SERVED, _BASELINE), strict=False):
            seconds, rates = _rates(throughput.wall_s, counts)
            axes.plot(seconds, rates, color=color, label=name, linewidth=1.5)
        axes.set_xlabel("seconds since the start")
        axes.set_ylabel("a second")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.15))
        return _svg(figure)


def _rates(
    wall_s: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], window: int = 5
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return counts per second, each averaged over a few samples."""
    window = min(window, max(len(wall_s) // 2, 1))
    elapsed = np.maximum(wall_s[window:] - wall_s[:-window], 1e-3)
    return wall_s[window:], (counts[window:] - counts[:-window]) / elapsed


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue().partition("<svg")[1] + text.getvalue().partition("<svg")[2]


_TABLE = "<table><tr><th><th>as of the question<th>as served<th>baseline</tr>{rows}</table>"

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>headrace: a year of flights</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1c2730; max-width: 60rem; margin: 3rem auto; padding: 0 1rem }}
h1 {{ margin-bottom: 0 }} h2 {{ margin-top: 2.5rem }} small {{ color: #8a8a8a }} svg {{ max-width: 100%; height: auto }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem; margin: 2rem 0 }}
.tiles b {{ display: block; font-size: 1.4rem; color: #0b6e99; overflow-wrap: anywhere }}
.tiles span {{ color: #5d6b75 }}
table {{ border-collapse: collapse }} td, th {{ padding: .3rem 1.5rem .3rem 0; text-align: left }}
tr + tr {{ border-top: 1px solid #dde3e7 }}
pre {{ background: #f3f6f8; padding: 1rem; overflow-x: auto; font-size: .85rem }}
</style>
<h1>Will this flight be late?</h1>
<p>Every flight that left New York in 2013, in the order in which it became known. The model was asked two hours before
each departure, and told some five hours later whether the flight had landed more than 15 minutes late.</p>
<div class="tiles">{tiles}</div>
<h2>Quality, from February on</h2>
{quality}
<h2>How late the labels came</h2>
{lags}
<h2>Throughput</h2>
{throughput}
<h2>Ask it</h2>
<p>While the loop is up:</p>
<pre>{command}</pre>
<pre>{answer}</pre>
</html>
"""
