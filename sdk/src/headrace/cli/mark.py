"""``headrace mark``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from headrace.cli.output import say
from headrace.cli.target import find, loop_options
from headrace.wording import format_time, microseconds


class Moment(click.ParamType):
    """``now``, or a time as ISO 8601 text; in microseconds since the epoch."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            moment = datetime.now(UTC) if value == "now" else datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time: write now, or one such as 2026-01-31T09:00:00Z", param, ctx)
        return microseconds(moment)


@click.command("mark")
@click.argument("stream")
@click.option("--until", type=Moment(), required=True, help="now, or a time such as 2026-01-31T09:00:00Z.")
@click.option("--address", metavar="HOST:PORT", help="The ingest service, instead of looking for it.")
@loop_options
def command(
    stream: str, until: int, address: str | None, loop: str | None, data: Path | None, redis: str | None
) -> None:
    """Say that no event of STREAM before a time follows.

    A mark moves the stream's watermark, as an event of that time does: questions that wait for a label of this stream
    expire once their bound lies before it, and an event that comes all the same is late. A stream with few events
    needs marks; nothing expires because of silence.

    \b
    Examples:
      headrace mark outcome --until now
      headrace mark outcome --until 2026-01-31T09:00:00Z --loop payments
    """
    from headrace.client import IngestClient

    now = microseconds(datetime.now(UTC))
    if until > now:
        raise click.UsageError(
            f"--until {format_time(until)} is in the future: all events before it would be late. "
            f"The latest mark is now, {format_time(now)}"
        )
    with IngestClient(address or find(loop, data, redis).address("ingest")) as client:
        client.mark(stream, until)
    say(f"marked {stream}: no event before {format_time(until)} follows")
