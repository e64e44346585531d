"""A view of the loop while the year is played: a board on a terminal, log lines elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from headrace.demo.samples import Sample
from headrace.wire.times import Inactive, WireTime

_BARS = "▁▂▃▄▅▆▇█"

_COUNTS = (
    ("events folded", "feature.events"),
    ("vectors made", "feature.vectors"),
    ("predictions served", "scorer.predictions"),
    ("labels arrived", "feature.labels"),
    ("examples learned", "learner.examples"),
    ("versions published", "learner.versions"),
)

_QUALITY = (
    ("ROC AUC", "roc_auc", None),
    ("log loss", "log_loss", "prior_log_loss"),
    ("accuracy", "accuracy", "no_change_accuracy"),
)
_BASELINES = {None: "guessing 0.500", "prior_log_loss": "prior", "no_change_accuracy": "no change"}


def board(sample: Sample, rates: Mapping[str, float], total: int) -> RenderableType:
    """Render the whole board."""
    year = Table.grid(padding=(0, 2))
    year.add_row(
        Text(date(sample.watermark), style="bold"),
        ProgressBar(total=total, completed=sample.played, width=40),
        f"{sample.played:,} of {total:,} events sent",
        f"{sample.wall_s:,.0f} s",
    )
    return Panel(
        Group(year, "", _counts(sample, rates), "", _quality(sample), "", _foot(sample)),
        title="headrace: will this flight be late?",
        title_align="left",
        padding=(1, 2),
        expand=False,
    )


def line(sample: Sample, rates: Mapping[str, float]) -> str:
    """Render the same sample as one line, for a log."""
    counts = sample.counts
    parts = [
        f"{sample.wall_s:4.0f} s",
        date(sample.watermark),
        f"{counts['feature.events']:,} events ({rates.get('feature.events', 0.0):,.0f}/s)",
        f"{counts['scorer.predictions']:,} predictions{_before_the_first(counts['scorer.unscored'])}",
        f"{counts['learner.examples']:,} examples ({rates.get('learner.examples', 0.0):,.0f}/s)",
        f"version {sample.version:,}",
    ]
    if sample.points:
        recent = sample.points[-1].metrics
        parts += [
            f"AUC {recent['roc_auc']:.3f}",
            f"log loss {recent['log_loss']:.3f} (prior {recent['prior_log_loss']:.3f})",
            f"accuracy {recent['accuracy']:.3f} (no change {recent['no_change_accuracy']:.3f})",
        ]
    parts.append(f"drift alarms {sample.metrics.get('drift_alarms', 0):.0f}")
    return "  ".join(parts)


def _before_the_first(unscored: int) -> str:
    return f" ({unscored:,} asked before the first version)" if unscored else ""


def date(watermark: WireTime) -> str:
    """Format the date up to which the year has been learned."""
    if watermark is None:
        return "not yet"
    if isinstance(watermark, Inactive):
        return "the end"
    return datetime.fromtimestamp(watermark / 1e6, UTC).strftime("%d %b %Y")


def sparkline(values: Sequence[float], width: int = 48) -> str:
    """Draw values over time as a row of small bars."""
    if not values:
        return ""
    step = max(len(values) / width, 1.0)
    points = [values[int(index * step)] for index in range(min(width, len(values)))]
    low, high = min(points), max(points)
    return "".join(_BARS[round((value - low) / ((high - low) or 1.0) * (len(_BARS) - 1))] for value in points)


def _counts(sample: Sample, rates: Mapping[str, float]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "total", "a second"):
        table.add_column(heading, justify="left" if not heading else "right", min_width=11)
    for name, key in _COUNTS:
        table.add_row(name, f"{sample.counts[key]:,}", f"{rates.get(key, 0.0):,.0f}")
    lag = sample.played - sample.counts["feature.events"]
    counts = sample.counts
    waiting = counts["feature.vectors"] - counts["feature.examples"] - counts["feature.expired"]
    table.add_row("lag: sent, not folded", f"{max(lag, 0):,}", "")
    table.add_row("waiting for their label", f"{max(waiting, 0):,}", "")
    return table


def _quality(sample: Sample) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("last 5,000", "model", "baseline", "since February"):
        table.add_column(heading, min_width=11)
    recent = sample.points[-1].metrics if sample.points else {}
    for name, key, baseline in _QUALITY:
        text = _BASELINES[baseline]
        if baseline and baseline in recent:
            text += f" {recent[baseline]:.3f}"
        over_time = [point.metrics[key] for point in sample.points]
        table.add_row(name, f"{recent[key]:.3f}" if key in recent else "", text, sparkline(over_time))
    return table


def _foot(sample: Sample) -> Text:
    alarms = sample.metrics.get("drift_alarms", 0.0)
    dead = dead_letters(sample)
    text = Text(f"version {sample.version:,}   drift alarms {alarms:.0f}   dead letters {dead:,}")
    for instance, state in sample.states.items():
        if state != "ready":
            text.append(f"   {instance} {state}", style="yellow")
    return text


def dead_letters(sample: Sample) -> int:
    """Count what could not be processed, over all services."""
    return sum(count for name, count in sample.counts.items() if name.endswith(".dead_letters"))
