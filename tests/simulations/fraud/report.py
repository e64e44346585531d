"""The report of a simulation: a table for people, and one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from tests.simulations.fraud.simulation import Simulation

_HEAD = ("as of the question", "examples", "mean", "share", "ece", "by decile", "log loss", "prior", "auc")


def table(found: Simulation) -> str:
    """Format what was played, what was compared, and the quality of each model."""
    lines = ["events", *_counted({"payments": found.payments, **found.counts})]
    for model, counts in found.models.items():
        lines += ["", f"model {model}", *_counted(counts)]
    lines += ["", *_quality(found), "", f"differences {len(found.differences)}"]
    lines += [f"  {difference}" for difference in found.differences]
    lines.append(
        f"{found.seconds:,.0f} s for {found.events:,} events: {found.rate:,.0f} events/s; "
        f"{found.memory_mb:,} MB for the comparison"
    )
    return "\n".join(lines)


def line(found: Simulation) -> str:
    """Format the results as one JSON object."""
    return json.dumps(
        {
            "payments": found.payments,
            "seed": found.seed,
            **found.counts,
            "models": found.models,
            "quality": {title: asdict(figures) for title, figures in found.quality.items()},
            "prior_log_loss": found.priors,
            "metrics": found.metrics,
            "seconds": round(found.seconds, 1),
            "events": found.events,
            "events_per_s": round(found.rate),
            "memory_mb": found.memory_mb,
            "differences": found.differences,
        }
    )


def _counted(counts: dict[str, int]) -> Iterable[str]:
    return (f"  {name:<24} {count:>10,}" for name, count in counts.items())


def _quality(found: Simulation) -> Iterable[str]:
    yield f"{_HEAD[0]:<42}{_HEAD[1]:>10}" + "".join(f"{name:>10}" for name in _HEAD[2:])
    for title, figures in found.quality.items():
        prior = f"{found.priors[title]:.6f}" if title in found.priors else ""
        numbers = (figures.mean, figures.share, figures.ece, figures.decile_error, figures.log_loss)
        shown = "".join(f"{number:>10.6f}" for number in numbers)
        yield f"{title:<42}{figures.examples:>10,}{shown}{prior:>10}{figures.roc_auc:>10.4f}"
    for model, metrics in found.metrics.items():
        values = ", ".join(
            f"{name} {metrics.get(name) or 0.0:.6f}"
            for name in ("mean", "share", "ece", "log_loss", "prior_log_loss", "roc_auc")
        )
        yield f"headrace says of {model}: {values}"
