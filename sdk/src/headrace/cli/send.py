"""``headrace send``."""

from __future__ import annotations

from pathlib import Path

import click

from headrace.cli.running_target import Target, find, loop_options
from headrace.cli.sending import (
    decided_facts,
    decided_text,
    definition_of,
    print_rejections,
    progress,
    report_problems,
    safe_to_repeat,
    sending_options,
    stopped_by_interrupt,
    tell_interruption,
    tell_outcome,
)
from headrace.errors import Unavailable, UnknownName
from headrace.wording import counted


@click.command("send")
@click.argument("stream")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--final", is_flag=True, help="End the stream's history here: nothing waits for more of it.")
@sending_options
@loop_options
def command(
    *,
    stream: str,
    files: tuple[Path, ...],
    final: bool,
    address: str | None,
    definition: Path | None,
    limit: int | None,
    as_json: bool,
    loop: str | None,
    data: Path | None,
    redis: str | None,
) -> int:
    """Send the events in FILES to STREAM, as fast as the broker takes them.

    Files are CSV, JSON Lines or Parquet, gzipped or not. Rows that are not events of the stream go to the dead
    letters and do not stop the others; the exit code is then 4. Sending a file again does no harm: an event whose id
    the stream remembers (its horizon, 7 days of event time by default) is a repeat, without effect, and no error.
    An older one is rejected as "late or already sent".

    \b
    Examples:
      headrace send departed departed.csv
      headrace send departed 2013-*.jsonl.gz --loop flights
    """
    from headrace.client import send

    target = _target(address, definition, loop, data, redis=redis)
    loop_definition = definition_of(target, definition)
    names = tuple(entry.name for entry in loop_definition.streams)
    if stream not in names:
        raise UnknownName("stream", stream, names)
    with (
        report_problems(target),
        progress(f"send {stream}", limit) as show,
        stopped_by_interrupt() as stopped,
        safe_to_repeat("Sending"),
    ):
        result = send(
            loop_definition.stream(stream),
            files,
            address or target.address("ingest"),
            limit=limit,
            final=final,
            on_progress=lambda count: show(count, ""),
            stop=stopped.is_set,
        )
    print_rejections(result.rejections, result.rejected)
    line = f"sent {counted(result.sent, 'event')} to {stream}: {decided_text(result)}"
    facts = {"stream": stream, "sent": result.sent, **decided_facts(result)}
    if stopped.is_set():
        return tell_interruption(as_json, line, facts, "Sending")
    return tell_outcome(as_json, line, facts)


def _target(
    address: str | None, definition: Path | None, loop: str | None, data: Path | None, *, redis: str | None
) -> Target:
    """Find the running loop; return an empty target if the options already say all that is needed."""
    if address and definition:
        return Target("", "")
    try:
        return find(loop, data, redis)
    except Unavailable as error:
        if address is None:
            raise
        needs = "--address needs --definition too, where the loop does not run here (`headrace compile` writes it)"
        raise click.UsageError(needs) from error
