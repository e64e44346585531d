"""``headrace mark``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from headrace.cli.output import say
from headrace.cli.running_target import Target, find, loop_options
from headrace.wording import counted, format_time, microseconds


class Moment(click.ParamType):
    """``now``, or a time as ISO 8601 text; the result is in microseconds since the epoch."""

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
@click.option("--until", type=Moment(), help="now, or a time such as 2026-01-31T09:00:00Z.")
@click.option("--confirm", is_flag=True, help="It may decide any number of questions; by default the mark that waits.")
@click.option("--withdraw", is_flag=True, help="Take back the marks that are later than --until; by default all.")
@click.option("--address", metavar="HOST:PORT", help="The ingest service, instead of looking for it.")
@loop_options
def command(
    *,
    stream: str,
    until: int | None,
    confirm: bool,
    withdraw: bool,
    address: str | None,
    loop: str | None,
    data: Path | None,
    redis: str | None,
) -> None:
    """Say that no event of STREAM before a time follows.

    A mark moves the stream's watermark, as an event of that time does: questions that wait for a label of this stream
    expire once their bound lies before it, and an event before it that still arrives is late. A stream with few events
    needs marks; nothing expires because of silence.

    \b
    Examples:
      headrace mark outcome --until now
      headrace mark outcome --until 2026-01-31T09:00:00Z --loop payments
      headrace mark outcome --confirm
      headrace mark outcome --withdraw
    """
    from headrace.client import IngestClient
    from headrace.client.publishing import sender_name

    _check(until, confirm, withdraw)
    if address is None or until is None:
        target = find(loop, data, redis)
        address = address or target.address("ingest")
    if confirm and until is None:
        until = _mark_time(target, stream)
    with IngestClient(address, sender=sender_name("cli")) as client:
        if withdraw:
            client.withdraw_marks(stream, until)
        else:
            assert until is not None
            client.mark(stream, until, confirm=confirm)
    say(_done(stream, until, withdraw))


def _check(until: int | None, confirm: bool, withdraw: bool) -> None:
    """Refuse options that contradict one another, and times that a mark may not have."""
    if confirm and withdraw:
        raise click.UsageError("--confirm and --withdraw contradict one another")
    if until is None and not (confirm or withdraw):
        raise click.UsageError("say up to when the stream is complete: --until now, or a time")
    now = microseconds(datetime.now(UTC))
    if until is not None and until > now:
        raise click.UsageError(
            f"--until {format_time(until)} is in the future: all events before it would be late. "
            f"The latest mark is now, {format_time(now)}"
        )


def _mark_time(target: Target, stream: str) -> int:
    """Return the time of the mark that waits for confirmation."""
    from headrace.cli.progress_tables import joins_of

    joins = [join for join in joins_of(target.statuses()).values() if join.held_by.rpartition("-")[0] == stream]
    marks = [mark for join in joins for mark in join.marks if mark.held and mark.until is not None]
    if not marks:
        raise click.UsageError(f"no mark of {stream} waits to be confirmed: `headrace status` shows those that do")
    newest = max(marks, key=lambda mark: mark.until or 0)
    count = max(mark.held for mark in marks)
    say(f"confirming a mark by {newest.sender}: it decides {counted(count, 'question')}")
    assert newest.until is not None
    return newest.until


def _done(stream: str, until: int | None, withdraw: bool) -> str:
    if not withdraw:
        assert until is not None
        return f"marked {stream}: no event before {format_time(until)} follows"
    marks = "all marks of" if until is None else f"the marks after {format_time(until)} of"
    return f"withdrew {marks} {stream}: its watermark is what its events say, and what is left of marks"
