"""``headrace score``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.output import say
from headrace.cli.target import find, loop_options
from headrace.wording import format_span

if TYPE_CHECKING:
    from headrace.v1 import scoring_pb2, vector_pb2


@click.command("score")
@click.argument("model")
@click.option("--event", required=True, metavar="JSON", help="The fields that the model needs; `-`: standard input.")
@click.option("--id", "event_id", default="", help="Names the event, so that its label can find this prediction.")
@click.option("--explain", is_flag=True, help="Also the vector, with the age of its values.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.option("--address", metavar="HOST:PORT", help="The scorer, instead of looking for it.")
@loop_options
def command(
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
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"no JSON: {error}", param_hint="--event") from error
    response = _ask(address or find(loop, data, redis).address("scorer"), model, text, event_id, explain)
    say(json.dumps(_plain(response)) if as_json else "\n".join(_lines(response)))


def _ask(address: str, model: str, event: str, event_id: str, explain: bool) -> scoring_pb2.ScoreResponse:
    from headrace.cli.calls import DEADLINE_S, calling
    from headrace.v1 import scoring_pb2, scoring_pb2_grpc

    request = scoring_pb2.ScoreRequest(model=model, event=event.encode(), event_id=event_id, explain=explain)
    with calling("scorer", address) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]
        response: scoring_pb2.ScoreResponse = stub.Score(request, timeout=DEADLINE_S)
    return response


def _plain(response: scoring_pb2.ScoreResponse) -> dict[str, object]:
    plain: dict[str, object] = {"score": response.score}
    if response.label:
        plain |= {"label": response.label, "probabilities": dict(response.probabilities)}
    plain["version"] = {
        "model": response.version.model,
        "definition": response.version.definition,
        "examples": response.version.examples,
    }
    plain["degradations"] = _degradations(response)
    if response.vector:
        plain["vector"] = [
            {"name": value.name, "value": _value(value), "age_s": _age_s(value)} for value in response.vector
        ]
    return plain


def _lines(response: scoring_pb2.ScoreResponse) -> list[str]:
    version = response.version
    lines = [f"score    {response.score:.6g}"]
    if response.label:
        lines.append(f"label    {response.label}")
        lines += [f"  {name}  {share:.6g}" for name, share in sorted(response.probabilities.items())]
    lines.append(f"version  {version.model} after {version.examples:,} examples ({version.definition})")
    lines += [f"degraded {reason}" for reason in _degradations(response)]
    if response.vector:
        width = max(len(value.name) for value in response.vector)
        lines += ["vector"]
        lines += [
            f"  {value.name:<{width}}  {_value_text(value):<12}  {_age(value)}".rstrip() for value in response.vector
        ]
    return lines


def _degradations(response: scoring_pb2.ScoreResponse) -> list[str]:
    from headrace.v1 import scoring_pb2

    names = (scoring_pb2.Degradation.Name(degradation) for degradation in response.degradations)
    return [name.removeprefix("DEGRADATION_").lower() for name in names]


def _value(value: vector_pb2.Value) -> float | str | None:
    kind = value.WhichOneof("value")
    return None if kind is None else getattr(value, kind)


def _value_text(value: vector_pb2.Value) -> str:
    plain = _value(value)
    if plain is None:
        return "missing"
    return plain if isinstance(plain, str) else f"{plain:.6g}"


def _age_s(value: vector_pb2.Value) -> float | None:
    return value.age / 1e6 if value.HasField("age") else None


def _age(value: vector_pb2.Value) -> str:
    age = _age_s(value)
    if age is None:
        return ""
    # A row is ahead if the question's time is before the row's newest event.
    return f"{format_span(age)} old" if age >= 0 else f"row is {format_span(-age)} ahead"
