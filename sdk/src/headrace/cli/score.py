"""``headrace score``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.output import say
from headrace.cli.running_target import TIMEOUT_S, find, loop_options
from headrace.wording import format_span

if TYPE_CHECKING:
    from headrace.client import Prediction


@click.command("score")
@click.argument("model")
@click.option("--event", required=True, metavar="JSON", help="The fields that the model needs; `-`: standard input.")
@click.option("--id", "event_id", default="", help="Names the event, so that its label can find this prediction.")
@click.option("--explain", is_flag=True, help="Show the vector as well, with the age of its values.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@click.option("--address", metavar="HOST:PORT", help="The address of the scorer; default: that of the running loop.")
@loop_options
def command(
    *,
    model: str,
    event: str,
    event_id: str,
    explain: bool,
    as_json: bool,
    address: str | None,
    loop: str | None,
    data: Path | None,
    redis: str | None,
) -> None:
    """Ask MODEL what it predicts for an event.

    \b
    Examples:
      headrace score late_arrival --event '{"at": "2013-12-31T20:00:00Z",
        "clock": "2013-12-31T17:00:00Z", "carrier": "UA", "number": "UA1545", "origin": "EWR",
        "dest": "IAH", "tail": "N14228", "distance": 1400}'
      headrace score late_arrival --event - --explain < event.json
    """
    # The scorer checks the event against its stream; here only check that a shell has not removed the quotes.
    text = click.get_text_stream("stdin").read() if event == "-" else event
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"no JSON: {error}", param_hint="--event") from error
    from headrace.client import ScoringClient

    with ScoringClient(address or find(loop, data, redis).address("scorer"), timeout=TIMEOUT_S) as client:
        prediction = client.score(model, text, event_id=event_id, explain=explain)
    say(json.dumps(_facts(prediction)) if as_json else "\n".join(_lines(prediction)))


def _facts(prediction: Prediction) -> dict[str, object]:
    facts: dict[str, object] = {"score": prediction.score}
    if prediction.label is not None:
        facts |= {"label": prediction.label, "probabilities": prediction.probabilities}
    facts["version"] = asdict(prediction.version)
    facts["degradations"] = list(prediction.degradations)
    if prediction.vector:
        facts["vector"] = [asdict(value) for value in prediction.vector]
    return facts


def _lines(prediction: Prediction) -> list[str]:
    version = prediction.version
    lines = [f"score    {prediction.score:.6g}"]
    if prediction.label is not None:
        lines.append(f"label    {prediction.label}")
        lines += [f"  {name}  {share:.6g}" for name, share in sorted(prediction.probabilities.items())]
    lines.append(f"version  {version.model} after {version.examples:,} examples ({version.definition})")
    lines += [f"degraded {reason}" for reason in prediction.degradations]
    if prediction.vector:
        width = max(len(value.name) for value in prediction.vector)
        lines += ["vector"]
        lines += [
            f"  {value.name:<{width}}  {_text(value.value):<12}  {_age(value.age_s)}".rstrip()
            for value in prediction.vector
        ]
    return lines


def _text(value: float | str | None) -> str:
    if value is None:
        return "missing"
    return value if isinstance(value, str) else f"{value:.6g}"


def _age(age_s: float | None) -> str:
    if age_s is None:
        return ""
    # A row is ahead if the question's time is before the row's newest event.
    return f"{format_span(age_s)} old" if age_s >= 0 else f"row is {format_span(-age_s)} ahead"
