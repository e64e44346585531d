"""The report of a simulation: a table for people, and one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from tests.simulations.fraud.simulation import Simulation

_HEAD = ("as of the question", "examples", "mean", "share", "ece", "by decile", "log loss", "prior", "auc")


def table(result: Simulation) -> str:
    """Format what was played, what was compared, and the quality of each model."""
    lines = ["events", *_counted({"payments": result.payments, **result.counts})]
    for model, counts in result.models.items():
        lines += ["", f"model {model}", *_counted(counts)]
    lines += ["", *_quality(result), "", f"differences {len(result.differences)}"]
    lines += [f"  {difference}" for difference in result.differences]
    lines.append(
        f"{result.seconds:,.0f} s for {result.events:,} events: {result.rate:,.0f} events/s; "
        f"{result.memory_mb:,} MB for the comparison"
    )
    return "\n".join(lines)


def line(result: Simulation) -> str:
    """Format the results as one JSON object."""
    return json.dumps(
        {
            "payments": result.payments,
            "seed": result.seed,
            **result.counts,
            "models": result.models,
            "quality": {title: asdict(figures) for title, figures in result.quality.items()},
            "prior_log_loss": result.priors,
            "metrics": result.metrics,
            "seconds": round(result.seconds, 1),
            "events": result.events,
            "events_per_s": round(result.rate),
            "memory_mb": result.memory_mb,
            "differences": result.differences,
        }
    )


def _counted(counts: dict[str, int]) -> Iterable[str]:
    return (f"  {name:<24} {count:>10,}" for name, count in counts.items())


def _quality(result: Simulation) -> Iterable[str]:
    yield f"{_HEAD[0]:<42}{_HEAD[1]:>10}" + "".join(f"{name:>10}" for name in _HEAD[2:])
    for title, figures in result.quality.items():
        prior = f"{result.priors[title]:.6f}" if title in result.priors else ""
        numbers = (figures.mean, figures.share, figures.ece, figures.decile_error, figures.log_loss)
        shown = "".join(f"{number:>10.6f}" for number in numbers)
        yield f"{title:<42}{figures.examples:>10,}{shown}{prior:>10}{figures.roc_auc:>10.4f}"
    for model, metrics in result.metrics.items():
        values = ", ".join(
            f"{name} {metrics.get(name) or 0.0:.6f}"
            for name in ("mean", "share", "ece", "log_loss", "prior_log_loss", "roc_auc")
        )
        yield f"headrace says of {model}: {values}"
