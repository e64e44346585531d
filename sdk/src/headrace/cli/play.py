"""``headrace play``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headrace.cli.running_target import find, loop_options
from headrace.cli.sending import (
    SourceFile,
    decided_facts,
    decided_text,
    definition_of,
    print_rejections,
    progress,
    report_problems,
    safe_to_repeat,
    sending_options,
    sources_of,
    stopped_by_interrupt,
    tell_interruption,
    tell_outcome,
)
from headrace.wording import counted, format_span, format_time

if TYPE_CHECKING:
    from headrace.client import PlayResult, Progress


class _Speed(click.ParamType):
    name = "SPEED"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str | float:
        text = str(value)
        if text in ("max", "realtime"):
            return text
        try:
            speed = float(text.removesuffix("x").removesuffix("×"))
        except ValueError:
            speed = 0.0
        if not 0 < speed < float("inf"):
            self.fail(f"{text!r} is no speed: realtime, max, or a number above 0 (60: an hour a minute)", param, ctx)
        return speed


@click.command("play")
@click.argument("sources", nargs=-1, required=True, type=SourceFile(), metavar="[STREAM=]FILE...")
@click.option(
    "--speed",
    type=_Speed(),
    default="max",
    show_default=True,
    help="realtime, a number (60: an hour a minute), or max: as fast as the loop can take it.",
)
@click.option(
    "--ahead",
    type=click.IntRange(min=1),
    default=20_000,
    show_default=True,
    metavar="N",
    help="At max: how many events the loop may be behind.",
)
@click.option("--more", is_flag=True, help="More events will follow: do not declare the end of history to the loop.")
@sending_options
@loop_options
def command(
    *,
    sources: tuple[tuple[Path, str], ...],
    speed: str | float,
    ahead: int,
    more: bool,
    address: str | None,
    definition: Path | None,
    limit: int | None,
    as_json: bool,
    loop: str | None,
    data: Path | None,
    redis: str | None,
) -> int:
    """Play files into a loop, merged in the order of their events' times.

    Each file belongs to a stream: CSV, JSON Lines or Parquet, gzipped or not. A stream may have several files; if the
    loop has only one stream, its name can be left out.
    Rows that are not events of their stream go to the dead letters; the exit code is then 4. Events that were sent
    before are repeats, without effect, as for `headrace send`. Streams without a file here are not marked or ended.

    \b
    Examples:
      headrace play scheduled=scheduled.csv departed=departed.csv.gz arrived=arrived.parquet
      headrace play clicks=clicks.jsonl --speed 60
      headrace play trips.csv
    """
    from headrace.client import play

    target = find(loop, data, redis)
    loop_definition = definition_of(target, definition)
    with (
        report_problems(target),
        progress("play", limit) as show,
        stopped_by_interrupt() as stopped,
        safe_to_repeat("Playing"),
    ):
        result = play(
            loop_definition,
            sources_of(loop_definition, sources),
            address or target.address("ingest"),
            target.redis,
            speed=speed,  # type: ignore[arg-type]
            limit=limit,
            ahead=ahead,
            final=not more,
            on_progress=lambda at: show(at.sent, _note(at)),
            stop=stopped.is_set,
        )
    print_rejections(result.rejections, result.rejected)
    if stopped.is_set():
        return tell_interruption(as_json, _line(result), _facts(result), "Playing")
    return tell_outcome(as_json, _line(result), _facts(result))


def _note(at: Progress) -> str:
    behind = "" if at.behind is None else f"  {at.behind:,} ahead of the loop"
    return f"at {_time(at.time)}{behind}"


def _line(result: PlayResult) -> str:
    rate = result.sent / max(result.wall_s, 1e-3)
    line = f"played {counted(result.sent, 'event')} in {result.wall_s:,.1f} s ({rate:,.0f}/s)"
    line += f": {decided_text(result)}"
    if result.first_time is not None and result.last_time is not None:
        line += f"; {_time(result.first_time)} to {_time(result.last_time)}"
    if result.disorder:
        line += f"; not in order by up to {format_span(result.disorder / 1e6)}"
    return line


def _facts(result: PlayResult) -> dict[str, object]:
    names = ("wall_s", "first_time", "last_time", "disorder", "stalls")
    return {"sent": result.sent, **decided_facts(result), **{name: getattr(result, name) for name in names}}


def _time(time: int) -> str:
    return format_time(time, short=True)
