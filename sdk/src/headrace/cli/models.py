"""``headrace models``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.board import SERVED
from headrace.cli.output import say
from headrace.cli.running_target import TIMEOUT_S, Target, find, loop_options
from headrace.cli.sending import definition_of

if TYPE_CHECKING:
    from headrace.client import ModelDescription, ModelSummary, Takeover
    from headrace.runtime.redis.status import ServiceStatus


@click.command("models")
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@click.option("--address", metavar="HOST:PORT", help="The address of the scorer; default: that of the running loop.")
@loop_options
def command(
    *,
    model: str | None,
    as_json: bool,
    address: str | None,
    loop: str | None,
    data: Path | None,
    redis: str | None,
) -> None:
    """List the models of a running loop, or describe MODEL: its features, its learner, its quality.

    \b
    Examples:
      headrace models
      headrace models late_arrival --json
    """
    from headrace.client import ScoringClient

    target = None if address else find(loop, data, redis)
    with ScoringClient(target.address("scorer") if target else str(address), timeout=TIMEOUT_S) as client:
        if model is None:
            models = client.list_models()
            facts: object = [_summary(summary) for summary in models]
            lines = [_summary_line(summary) for summary in models] or ["no models"]
        else:
            description = client.describe_model(model)
            if target is not None:
                description = _with_served(description, target)
            facts = _description(description)
            lines = description_lines(description)
    say(json.dumps(facts) if as_json else "\n".join(lines))


def _with_served(model: ModelDescription, target: Target) -> ModelDescription:
    """Add the metrics of what was served: the learner reports them, as they are no part of a version."""
    name = model.summary.name
    with suppress(click.UsageError):  # without the definition, a renamed model is not found under its old name
        name = next((other.name for other in definition_of(target, None).models if other.title == name), name)
    return replace(model, metrics={**model.metrics, **served_metrics(target.statuses(), name)})


def served_metrics(statuses: Iterable[ServiceStatus], model: str) -> dict[str, float]:
    """Return the metrics of what was served, from the status of the model's learner.

    While a former definition answers, the learner counts for the new one: the result is then empty.
    """
    reported = next((status for status in statuses if model in status.metrics), None)
    if reported is None or model in reported.takeovers:
        return {}
    return {
        name: math.nan if value is None else value
        for name, value in reported.metrics[model].items()
        if name.startswith(SERVED)
    }


def _summary(model: ModelSummary) -> dict[str, object]:
    return {
        "name": model.name,
        "task": model.task,
        "definition": model.definition,
        "examples": model.examples,
        "takeover": None if model.takeover is None else _takeover(model.takeover),
    }


def _takeover(takeover: Takeover) -> dict[str, object]:
    return {name: value for name, value in asdict(takeover).items() if name != "definition" or value}


def _description(model: ModelDescription) -> dict[str, object]:
    return {
        **_summary(model.summary),
        "learner": model.learner,
        "features": [asdict(feature) for feature in model.features],
        "classes": list(model.classes),
        # JSON has no NaN.
        "metrics": {name: value if value == value else None for name, value in model.metrics.items()},
    }


def _quality_lines(model: ModelDescription) -> list[str]:
    """Format the metrics as of the question, those of what was served, and a warning if it is worse than its prior."""
    from headrace.engine.quality.warning import MARK, warning_of

    if not model.metrics.get("scored", 1):
        return ["  nothing has been scored yet"]
    names = sorted(model.metrics, key=lambda name: (name.startswith(SERVED), name))
    values = {name: f"{value:.6g}" if value == value else "-" for name, value in model.metrics.items()}
    warning = warning_of(model.summary.name, model.metrics)
    return [*(f"  {name}  {values[name]}" for name in names if name != MARK), *([f"  ! {warning}"] if warning else [])]


def _summary_line(model: ModelSummary) -> str:
    from headrace.wording import takeover_text

    version = "no version yet" if model.examples is None else f"{model.examples:,} examples"
    line = f"{model.name}  {model.task}  {version}  ({model.definition})"
    if model.takeover is None:
        return line
    takeover = model.takeover
    return f"{line}\n  {takeover_text(takeover.answering, takeover.learned, takeover.needed)}"


def description_lines(model: ModelDescription) -> list[str]:
    """Format a model with its learner, quality and features."""
    lines = [_summary_line(model.summary), "learner", *(f"  {line}" for line in model.learner.splitlines())]
    if model.classes:
        lines += ["classes", *(f"  {name}" for name in model.classes)]
    if model.metrics:
        lines += ["quality", *_quality_lines(model)]
    width = max((len(feature.name) for feature in model.features), default=0)
    return [*lines, "features", *(f"  {feature.name:<{width}}  {feature.type}" for feature in model.features)]
