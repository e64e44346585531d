"""``headrace models``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.output import say
from headrace.cli.target import find, loop_options

if TYPE_CHECKING:
    from headrace.v1 import models_pb2


@click.command("models")
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.option("--address", metavar="HOST:PORT", help="The scorer, instead of looking for it.")
@loop_options
def command(
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
    from headrace.cli.calls import DEADLINE_S, calling
    from headrace.v1 import models_pb2, models_pb2_grpc

    scorer = address or find(loop, data, redis).address("scorer")
    with calling("scorer", scorer) as channel:
        stub = models_pb2_grpc.ModelServiceStub(channel)  # type: ignore[no-untyped-call]
        if model is None:
            models = stub.ListModels(models_pb2.ListModelsRequest(), timeout=DEADLINE_S).models
            plain: object = [_summary(entry) for entry in models]
            lines = [_summary_line(entry) for entry in models] or ["no models"]
        else:
            described = stub.DescribeModel(models_pb2.DescribeModelRequest(model=model), timeout=DEADLINE_S)
            plain = _description(described)
            lines = _description_lines(described)
    say(json.dumps(plain) if as_json else "\n".join(lines))


def _summary(model: models_pb2.ModelSummary) -> dict[str, object]:
    return {
        "name": model.name,
        "task": model.task,
        "definition": model.definition,
        "examples": model.examples if model.HasField("examples") else None,
        "takeover": _takeover(model.takeover) if model.HasField("takeover") else None,
    }


def _takeover(takeover: models_pb2.Takeover) -> dict[str, object]:
    return {"answering": takeover.answering, "learned": takeover.learned, "needed": takeover.needed} | (
        {"definition": takeover.definition} if takeover.definition else {}
    )


def _description(model: models_pb2.DescribeModelResponse) -> dict[str, object]:
    return {
        **_summary(model.summary),
        "learner": model.learner,
        "features": [{"name": feature.name, "type": feature.type} for feature in model.features],
        "classes": list(model.classes),
        # JSON has no NaN.
        "metrics": {name: value if value == value else None for name, value in model.metrics.items()},
    }


def _quality_lines(model: models_pb2.DescribeModelResponse) -> list[str]:
    """Format the metrics as of the question, those of what was served, and a warning if it is worse than its prior."""
    from headrace.engine.quality.warning import MARK, warning_of

    names = sorted(model.metrics, key=lambda name: (name.startswith(("served", "unserved")), name))
    values = {name: f"{value:.6g}" if value == value else "-" for name, value in model.metrics.items()}
    warning = warning_of(model.summary.name, model.metrics)
    return [*(f"  {name}  {values[name]}" for name in names if name != MARK), *([f"  ! {warning}"] if warning else [])]


def _summary_line(model: models_pb2.ModelSummary) -> str:
    from headrace.wording import takeover_text

    version = f"{model.examples:,} examples" if model.HasField("examples") else "no version yet"
    line = f"{model.name}  {model.task}  {version}  ({model.definition})"
    if not model.HasField("takeover"):
        return line
    takeover = model.takeover
    return f"{line}\n  {takeover_text(takeover.answering, takeover.learned, takeover.needed)}"


def _description_lines(model: models_pb2.DescribeModelResponse) -> list[str]:
    lines = [_summary_line(model.summary), "learner", *(f"  {line}" for line in model.learner.splitlines())]
    if model.classes:
        lines += ["classes", *(f"  {name}" for name in model.classes)]
    if model.metrics:
        lines += ["quality", *_quality_lines(model)]
    width = max((len(feature.name) for feature in model.features), default=0)
    return [*lines, "features", *(f"  {feature.name:<{width}}  {feature.type}" for feature in model.features)]
