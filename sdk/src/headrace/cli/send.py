"""``headrace send``."""

from __future__ import annotations

from pathlib import Path

import click

from headrace.cli.sending import definition_of, progress, sending_options, tell_outcome, tell_rejections
from headrace.cli.target import find, loop_options


@click.command("send")
@click.argument("stream")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--final", is_flag=True, help="No event follows on this stream: let the loop finish what it holds back.")
@sending_options
@loop_options
def command(
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
) -> None:
    """Send the events in FILES to STREAM, as fast as the broker takes them.

    Files are CSV, JSON Lines or Parquet, gzipped or not. Rows that are no events of the stream go to the dead
    letters and do not stop the others. Sending a file again does no harm: events count once.

    \b
    Examples:
      headrace send departed departed.csv
      headrace send departed 2013-*.jsonl.gz --loop flights
    """
    from headrace.client import send
    from headrace.errors import UnknownName

    target = find(loop, data, redis)
    loop_definition = definition_of(target, definition)
    names = tuple(own.name for own in loop_definition.streams)
    if stream not in names:
        raise UnknownName("stream", stream, names)
    with progress(f"send {stream}", limit) as show:
        result = send(
            loop_definition.stream(stream),
            files,
            address or target.address("ingest"),
            limit=limit,
            final=final,
            on_progress=lambda sent: show(sent, ""),
        )
    tell_rejections(result.rejections, result.rejected)
    tell_outcome(
        as_json,
        f"sent {result.sent:,} events to {stream}: {result.accepted:,} accepted, {result.rejected:,} rejected",
        {"stream": stream, "sent": result.sent, "accepted": result.accepted, "rejected": result.rejected},
    )
