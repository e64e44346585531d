"""``headrace models``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.output import say
from headrace.cli.running_target import TIMEOUT_S, find, loop_options

if TYPE_CHECKING:
    from headrace.client import ModelDescription, ModelSummary, Takeover


@click.command("models")
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.option("--address", metavar="HOST:PORT", help="The scorer, instead of looking for it.")
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

    with ScoringClient(address or find(loop, data, redis).address("scorer"), timeout=TIMEOUT_S) as client:
        if model is None:
            models = client.list_models()
            facts: object = [_summary(summary) for summary in models]
            lines = [_summary_line(summary) for summary in models] or ["no models"]
        else:
            description = client.describe_model(model)
            facts = _description(description)
            lines = _description_lines(description)
    say(json.dumps(facts) if as_json else "\n".join(lines))


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

    names = sorted(model.metrics, key=lambda name: (name.startswith(("served", "unserved")), name))
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


def _description_lines(model: ModelDescription) -> list[str]:
    lines = [_summary_line(model.summary), "learner", *(f"  {line}" for line in model.learner.splitlines())]
    if model.classes:
        lines += ["classes", *(f"  {name}" for name in model.classes)]
    if model.metrics:
        lines += ["quality", *_quality_lines(model)]
    width = max((len(feature.name) for feature in model.features), default=0)
    return [*lines, "features", *(f"  {feature.name:<{width}}  {feature.type}" for feature in model.features)]
